// A formula within a line that is wider than its paragraph gets a line of its own, which scrolls.
window.addEventListener("load", () => {
  if (!window.MathJax || !MathJax.startup) return;
  MathJax.startup.promise.then(() => {
    document.querySelectorAll("mjx-container:not([display])").forEach((formula) => {
      const room = formula.closest("p, li, dd");
      const width = formula.querySelector("svg").getBoundingClientRect().width;
      if (room && !formula.closest("td") && width > room.clientWidth) formula.classList.add("wide");
    });
  });
});
