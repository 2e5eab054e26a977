// A click on an arm's name hides it in every chart; a click on a heading sorts the table.
document.querySelectorAll(".legend button").forEach(button => button.onclick = () => {
  const shown = button.getAttribute("aria-pressed") === "true", arm = button.dataset.arm;
  document.querySelectorAll(`.legend button[data-arm="${arm}"]`).forEach(b => b.setAttribute("aria-pressed", !shown));
  document.querySelectorAll(`svg .arm-${arm}`).forEach(part => part.classList.toggle("hidden", shown));
});
document.querySelectorAll("table.sortable th button").forEach(button => button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  [...head.parentNode.cells].forEach(cell => cell.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const compare = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b;
  [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b))).forEach(row => body.append(row));
});
