// Draws an interactive figure in the place of its static twin, which stays for print and for readers without scripts.
// plotly and a figure's data are loaded when the figure comes near the window, from files beside the pages.
(() => {
  const DARK = {
    "#0072B2": "#56B4E9", "#D55E00": "#FF8C4A", "#009E73": "#2FD0A3", "#CC79A7": "#E6A3CB", "#666666": "#B5B5B5",
    "#000000": "#FFFFFF", "rgba(0,114,178,": "rgba(86,180,233,", "rgba(213,94,0,": "rgba(255,140,74,",
    "rgba(102,102,102,": "rgba(181,181,181,",
    // The scale of what has a sign, so that zero is dark and both ends carry white text.
    "#F1A340": "#A85000", "#F7F7F7": "#2E2E2E", "#998EC3": "#7150B5",
  };
  const NARROW = 600;
  const loaded = new Map();

  function load(address) {
    if (!loaded.has(address)) {
      loaded.set(address, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = address;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`cannot load ${address}`));
        document.head.append(script);
      }));
    }
    return loaded.get(address);
  }

  const isDark = () => document.documentElement.dataset.theme === "dark";

  function inTheme(value) {
    let text = JSON.stringify(value);
    if (isDark()) for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
    return JSON.parse(text);
  }

  // The layout for the theme and the width: no ground of its own, and panels one below the other on a phone.
  function layoutFor(spec, width) {
    const { sliders, title, ...layout } = inTheme(spec.layout);
    const style = getComputedStyle(document.body);
    const grid = isDark() ? "rgba(255,255,255,0.18)" : "rgba(0,0,0,0.12)";
    Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", autosize: true });
    layout.font = { ...layout.font, color: style.color, family: style.fontFamily, size: 12 };
    layout.margin = { ...layout.margin, t: 30 };
    layout.height -= 60;
    const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
    for (const axis of axes) {
      layout[axis].title = { standoff: 6, ...layout[axis].title };
      layout[axis] = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...layout[axis] };
    }
    const count = axes.filter((axis) => axis.startsWith("x")).length;
    if (width < NARROW && count > 1) {
      for (let k = 0; k < count; k++) {
        const number = k === 0 ? "" : k + 1;
        const top = 1 - k / count;
        layout[`xaxis${number}`].domain = [0, 1];
        layout[`yaxis${number}`].domain = [top - 1 / count + 0.3 / count, top];
      }
      layout.height = count * 290;
    }
    return layout;
  }

  function controlFor(control, index, id, changed) {
    const box = document.createElement("div");
    box.className = "interactive-control";
    const label = document.createElement("label");
    label.htmlFor = id;
    label.textContent = control.label;
    const input = document.createElement(control.ordered ? "input" : "select");
    input.id = id;
    box.append(label, input);
    if (control.ordered) {
      Object.assign(input, { type: "range", min: 0, max: control.values.length - 1, step: 1 });
      const shown = document.createElement("output");
      shown.htmlFor = id;
      box.append(shown);
      input.show = () => {
        shown.textContent = control.values[input.value];
        input.setAttribute("aria-valuetext", control.values[input.value]);
      };
      input.addEventListener("input", changed);
    } else {
      control.values.forEach((text, k) => input.add(new Option(text, k)));
      input.show = () => {};
      input.addEventListener("change", changed);
    }
    input.set = (value) => {
      input.value = value;
      input.show();
    };
    input.set(index);
    return [box, input];
  }

  async function build(place) {
    const name = place.dataset.figure;
    await Promise.all([load(`${place.dataset.root}plotly.min.js`), load(`${place.dataset.root}${name}.js`)]);
    const spec = window.bookFigures[name];
    const { controls, start } = spec.layout.meta;
    const frames = new Map(spec.frames.map((frame) => [frame.name, frame]));
    const drawing = document.createElement("div");
    drawing.className = "interactive-drawing";
    const note = document.createElement("p");
    note.className = "interactive-note";
    note.setAttribute("aria-live", "polite");
    const bar = document.createElement("div");
    bar.className = "interactive-controls";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Controls of the figure");
    let current = start;
    let width = 0;

    const inputs = controls.map((control, k) => {
      const [box, input] = controlFor(control, start.split(",")[k], `${name}-control-${k}`, () => go());
      bar.append(box);
      return input;
    });

    // The traces of a setting: those of the start, with what moves put in.
    function traces() {
      const frame = frames.get(current);
      return inTheme(spec.data.map((trace, k) => ({ ...trace, ...frame.data[k] })));
    }

    function draw() {
      width = drawing.clientWidth;
      const config = { displayModeBar: false, responsive: false, scrollZoom: false };
      note.textContent = frames.get(current).layout.title.text;
      return Plotly.react(drawing, traces(), layoutFor(spec, width), config);
    }

    function go(setting) {
      // A click says nothing (null) of the controls that it leaves as they are.
      if (setting) inputs.forEach((input, k) => setting[k] === null || input.set(setting[k]));
      inputs.forEach((input) => input.show());
      current = inputs.map((input) => input.value).join(",");
      return draw();
    }

    const twin = document.getElementById(place.dataset.id);
    place.append(bar, drawing, note);
    twin.insertBefore(place, twin.firstChild);
    twin.classList.add("has-interactive");
    await draw();
    drawing.on("plotly_click", ({ points }) => {
      const setting = points[0].customdata;
      if (Array.isArray(setting) && setting.length === inputs.length) go(setting);
    });
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    new ResizeObserver(() => {
      if (Math.abs(drawing.clientWidth - width) > 1) draw();
    }).observe(drawing);
    place.dataset.ready = "true";
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      near.unobserve(entry.target);
      const place = document.querySelector(`.interactive[data-id="${entry.target.id}"]`);
      build(place).catch((error) => console.error(error));
    }
  }, { rootMargin: "400px" });

  for (const place of document.querySelectorAll(".interactive")) near.observe(document.getElementById(place.dataset.id));
})();
