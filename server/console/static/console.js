// A page that no longer hears the console must not look as if it were live.
"use strict";

const show = (stale) => {
  document.getElementById("stale").hidden = !stale;
  document.body.classList.toggle("is-stale", stale);
};
for (const event of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(event, () => show(true));
}
document.addEventListener("htmx:afterSwap", () => show(false));
