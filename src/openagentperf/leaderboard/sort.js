for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.sort;
      const order = (a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === undefined || right === undefined) {
          // What has no number stands last, whichever way.
          if (left !== right) return left === undefined ? 1 : -1;
          return a.cells[column].textContent.localeCompare(b.cells[column].textContent) * (down ? 1 : -1);
        }
        return (down ? right - left : left - right);
      };
      body.append(...[...body.rows].sort(order));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
