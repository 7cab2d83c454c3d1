"""Standard normals, in double precision by a quicker way than PyTorch's."""

import math

import torch
from torch import Generator, Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_dtype


@checked(contents=False)
def standard_normal(
    *shape: int,
    generator: Generator,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Independent standard normals of the shape given, from `generator`.

    In single precision they are PyTorch's. In double precision PyTorch draws them one by one; here they are made
    together by Box and Muller's transform (1958) from uniforms of 32 bits, so none is larger than 6.8 in size.
    Raises `TypeError` for any other dtype.
    """
    for size in shape:
        check_count("shape", size, 0)
    if dtype == torch.float32:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype)
    check_dtype("dtype", dtype)
    count = math.prod(shape)
    pairs = -(-count // 2)
    # 64 random bits at a time are the quickest; as two integers k of 32 bits each, from −2³¹ to 2³¹ − 1.
    bits = torch.empty(pairs, dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)
    first, second = bits.view(torch.int32).view(2, pairs)
    # The radius from the uniform (k + 2³¹ + ½)/2³², which is neither 0 nor 1, the angle from 2πk/2³².
    radius = first.double().mul_(2.0**-32).add_(0.5 + 2.0**-33).log_().mul_(-2).sqrt_()
    angle = second.double().mul_(math.pi * 2.0**-31)
    drawn = torch.empty(2, pairs, dtype=dtype, device=device)
    torch.cos(angle, out=drawn[0])
    torch.sin(angle, out=drawn[1])
    return drawn.mul_(radius).view(-1)[:count].view(shape)
