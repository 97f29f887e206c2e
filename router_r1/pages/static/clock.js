// Seconds that tick until the end.
import { html, useEffect, useState } from "./ui.js";
import { seconds } from "./format.js";

/** From and to are times of `performance.now()`; without `to` it ticks. */
export function Clock({ from, to = null }) {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    if (to !== null) return undefined;
    const timer = setInterval(() => setNow(performance.now()), 100);
    return () => clearInterval(timer);
  }, [to]);
  return html`<b class="clock">${seconds(Math.max(0, ((to ?? now) - from) / 1000))}</b>`;
}
