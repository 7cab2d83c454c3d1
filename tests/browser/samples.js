// Marks of all texts of one colour, size and weight on one ground the first five. One alone might lie under something,
// where axe does not judge it.
() => {
  const seen = new Map();
  const ground = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      layers.push(style.backgroundColor, style.backgroundImage, style.opacity, style.filter);
    }
    return layers.filter(layer => !["rgba(0, 0, 0, 0)", "none", "1"].includes(layer));
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const e of document.querySelectorAll("body *")) {
    e.removeAttribute("data-sample");
    if (!hasText(e) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const letters = [e.localName, style.color, style.fontSize, style.fontWeight, style.textDecorationLine];
    const look = [...letters, ...ground(e)].join();
    const count = (seen.get(look) || 0) + 1;
    seen.set(look, count);
    if (count <= 5) e.setAttribute("data-sample", "");
  }
}
