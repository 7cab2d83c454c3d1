// Shows the provenance of an executed page: the values come from a script beside the page, so that the page's own
// bytes are the same in every build, and so that it also works when the page is opened from disk.
document.addEventListener("DOMContentLoaded", () => {
  const list = document.getElementById("provenance-values");
  if (!list || !window.chapterProvenance) return;
  for (const [name, value] of Object.entries(window.chapterProvenance)) {
    const term = document.createElement("dt");
    term.textContent = name;
    const text = document.createElement("dd");
    text.textContent = value;
    list.append(term, text);
  }
});
