// The theme that was chosen here before, set before anything is shown.
(() => {
  const kept = localStorage.getItem("memogen-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
