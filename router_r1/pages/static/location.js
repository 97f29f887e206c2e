// The address bar is the state of a page that can be linked to: which page, and what is chosen on it.
import { useLayoutEffect, useState } from "./ui.js";

const listeners = new Set();
const tell = () => listeners.forEach((listener) => listener());
addEventListener("popstate", tell);

/** Go to an address of these pages; `replace` leaves no step to go back to. */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  tell();
}

/** The current address, redrawn when it changes. */
export function useLocation() {
  const [, redraw] = useState(0);
  useLayoutEffect(() => {
    const listener = () => redraw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

/** The current address with parameters changed; null or "" takes one out, a list is written as several. */
export function addressWith(changes, path = location.pathname, query = new URLSearchParams(location.search)) {
  for (const [key, value] of Object.entries(changes)) {
    query.delete(key);
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") query.append(key, one);
  }
  return query.size ? `${path}?${query}` : path;
}

/** Follow links within these pages without loading them anew; everything else is the browser's. */
export function followLinks(event) {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.origin !== location.origin || link.target || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search);
  scrollTo(0, 0);
}
