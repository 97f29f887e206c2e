// The curves of runs, asked for again and again: only what is new since the last reply travels.
import { useEffect, useState } from "./ui.js";
import { get } from "./server.js";

export const EVERY_MS = 3000;

/** What is known of a run after a reply: `{cursor, steps: Map of step to row}`. */
export function joined(known, reply) {
  const steps = new Map([...known.steps].filter(([step]) => reply.kept_to === null || step <= reply.kept_to));
  for (const row of reply.rows) steps.set(row.step, { ...steps.get(row.step), ...row });
  return { cursor: reply.cursor, steps };
}

/** Run -> its rows in the order of their steps, kept up to date while the page is seen. */
export function useCurves(names) {
  const [runs, setRuns] = useState({});
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const known = Object.fromEntries(names.map((name) => [name, { cursor: "", steps: new Map() }]));
    const follow = async () => {
      try {
        for (const name of names) {
          let more = !document.hidden, isChanged = false;
          while (more) {
            const reply = await get("curves", { run: name, cursor: known[name].cursor }, controller.signal);
            isChanged ||= reply.rows.length > 0 || reply.kept_to !== null;
            known[name] = joined(known[name], reply);
            more = reply.more;
          }
          const rows = [...known[name].steps.values()].sort((a, b) => a.step - b.step);
          if (isChanged) setRuns((all) => ({ ...all, [name]: rows }));
        }
      } catch (fault) {
        if (fault.name === "AbortError") return; // else: the server may come back
      }
      timer = setTimeout(follow, EVERY_MS);
    };
    follow();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [names.join("\n")]);
  return runs;
}
