// Loaded before anything is drawn, so that a dark page does not flash white. The switch is in shell.js.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
