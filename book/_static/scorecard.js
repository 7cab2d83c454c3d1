// Makes each outcome in the table of counts a switch that leaves the claims of that outcome. Without it all are shown.
document.addEventListener("DOMContentLoaded", () => {
  const counts = document.querySelector("table.scorecard-counts");
  if (!counts) return;
  const groups = [...document.querySelectorAll(".scorecard-group")];
  const rows = groups.flatMap((group) => [...group.querySelectorAll("tbody tr")]);
  const told = document.createElement("p");
  told.className = "scorecard-told";
  told.setAttribute("role", "status");
  const switches = [...counts.querySelectorAll(".verdict")].map((word) => {
    const one = document.createElement("button");
    one.type = "button";
    one.title = "show these claims alone";
    one.dataset.outcome = [...word.classList].find((name) => name.startsWith("verdict-")).replace("verdict-", "outcome-");
    one.setAttribute("aria-pressed", "false");
    word.replaceWith(one);
    one.append(word);
    return one;
  });
  const show = (chosen) => {
    for (const one of switches) one.setAttribute("aria-pressed", String(one.dataset.outcome === chosen));
    const isLeft = (row) => chosen === null || row.classList.contains(chosen);
    for (const row of rows) row.classList.toggle("left-out", !isLeft(row));
    for (const group of groups)
      group.classList.toggle("left-out", ![...group.querySelectorAll("tbody tr")].some(isLeft));
    const left = rows.filter(isLeft).length;
    told.textContent = chosen === null ? "" : `${left} of ${rows.length} claims shown; press again for all`;
  };
  for (const one of switches)
    one.addEventListener("click", () => show(one.getAttribute("aria-pressed") === "true" ? null : one.dataset.outcome));
  (counts.closest(".pst-scrollable-table-container") || counts).after(told);
});
