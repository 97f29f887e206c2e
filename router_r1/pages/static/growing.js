// A trajectory that grows: what the server's stream has told so far (docs/serving.md, "What comes back").
import { events, post, Refusal } from "./server.js";

export const empty = { text: "", routes: [], answer: "", phase: "waiting", startedAt: 0, endedAt: null, ended: null };

/** The state after one chunk of the stream. */
export function after(state, chunk, now) {
  if (chunk.error) throw new Refusal(0, chunk.error.message, chunk.error.code);
  const delta = chunk.choices?.[0]?.delta ?? {};
  let next = state;
  if (delta.reasoning_content) next = { ...next, phase: "writing", text: next.text + delta.reasoning_content };
  if (delta.content) next = { ...next, answer: next.answer + delta.content };
  const told = chunk.router_r1;
  if (told?.event === "route_started") {
    const route = { ...told, at: next.text.length, startedAt: now, facts: null };
    next = { ...next, phase: "asking", routes: [...next.routes, route] };
  } else if (told?.event === "route_ended") {
    const ended = (route) => (route.number === told.number ? { ...route, facts: told } : route);
    next = { ...next, phase: "writing", routes: next.routes.map(ended) };
  } else if (told?.event === "ended") {
    next = { ...next, phase: "ended", endedAt: now, ended: told };
  }
  return next;
}

/** Ask a question; `tell` hears of every state, at most once per frame. Aborting the signal ends the trajectory. */
export async function ask({ model, question }, tell, signal) {
  let state = { ...empty, startedAt: performance.now() };
  let frame = 0;
  const show = () => {
    frame = 0;
    tell(state);
  };
  tell(state);
  try {
    const body = { model, stream: true, messages: [{ role: "user", content: question }] };
    for await (const chunk of events(await post("/v1/chat/completions", body, signal))) {
      state = after(state, chunk, performance.now());
      frame ||= requestAnimationFrame(show);
    }
    if (state.phase !== "ended") throw new Refusal(0, "the server ended the answer before its end");
  } catch (fault) {
    const stopped = fault.name === "AbortError";
    state = { ...state, phase: stopped ? "stopped" : "failed", endedAt: performance.now(), fault: fault.message };
  } finally {
    cancelAnimationFrame(frame);
    tell(state);
  }
}

/** What it has cost so far: routes that have ended, in micro-USD of output and in USD. */
export function costOf({ routes, ended }) {
  if (ended) return { rawCost: ended.raw_cost, usd: ended.spend_usd };
  const sum = (key) => routes.reduce((total, route) => total + (route.facts?.[key] ?? 0), 0);
  return { rawCost: sum("raw_cost"), usd: sum("spend_usd") };
}
