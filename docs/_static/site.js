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

// A table or a figure that is wider than the page fades at the side where there is more of it.
function fade() {
  document.querySelectorAll(".bd-article table, .bd-article p:has(> img)").forEach((box) => {
    const mark = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    mark();
    box.onscroll = mark;
    if (box.scrollWidth > box.clientWidth + 2) box.tabIndex = 0; // so that the arrow keys scroll it
  });
}
window.addEventListener("load", fade);
window.addEventListener("resize", fade);
