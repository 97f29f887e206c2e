// One trajectory: what the policy wrote and what it was told, told apart; rewards; what each route took.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";
import { Candidate, hueOf } from "./candidates.js";
import { seconds, short, usd } from "./format.js";
import { addressWith, go } from "./location.js";
import { get } from "./server.js";
import { AT_TAGS } from "./tags.js";
import { isTyping, verdict } from "./trajectories.js";

export function Trajectory({ id, shelf, conditions }) {
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState(null);
  const heading = useRef(null);
  useEffect(() => {
    const controller = new AbortController();
    get("trajectory", { shelf, id, ...conditions }, controller.signal).then(
      setFound,
      (error) => error.name === "AbortError" || setFault(error),
    );
    return () => controller.abort();
  }, [id]);
  useEffect(() => heading.current?.focus(), [found?.trajectory.id]); // a screen reader says which one is open now
  const steps = { back: addressWith({ id: null }), ...links(found) };
  useLayoutEffect(() => { // as soon as it is drawn: who sees a trajectory may press a key
    const onKey = (event) => {
      if (isTyping(event)) return;
      const to = { j: steps.after, ArrowRight: steps.after, k: steps.before, ArrowLeft: steps.before, Escape: steps.back }[event.key];
      if (to) go(to, { replace: event.key !== "Escape" });
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [steps.before, steps.after, steps.back]);
  return html`
    <div class="bar">
      <a href=${steps.back}>← All trajectories</a>
      <nav class="pager" aria-label="Other trajectories">
        ${steps.before ? html`<a href=${steps.before} rel="prev">← Previous <kbd>k</kbd></a>` : html`<span class="hint">← Previous</span>`}
        ${steps.after ? html`<a href=${steps.after} rel="next">Next <kbd>j</kbd> →</a>` : html`<span class="hint">Next →</span>`}
      </nav>
    </div>
    ${fault && html`<p class="fault" role="alert">${fault.message}</p>`}
    ${found && html`
      <h1 tabindex="-1" ref=${heading} class="title">${found.trajectory.question ?? "(texts are not kept)"}</h1>
      <${Opened} one=${found.trajectory} />
    `}
  `;
}

const links = (found) => ({
  before: found?.before ? addressWith({ id: found.before }) : null,
  after: found?.after ? addressWith({ id: found.after }) : null,
});

function Opened({ one }) {
  const { name, kind } = verdict(one);
  const facts = {
    verdict: html`<span class=${`verdict ${kind}`}>${name}</span>`,
    answer: one.answer ?? "none",
    golden: one.golden_answers.join(" · ") || "not known",
    EM: short(one.em),
    F1: short(one.f1),
    status: one.status?.replaceAll("_", " ") ?? "not known",
    format: one.format_error === null ? "not known" : one.format_error || "kept",
    "cost weight": short(one.cost_weight),
    "raw cost": short(one.raw_cost),
    spent: one.spend_usd === null ? "–" : usd(one.spend_usd),
    time: one.seconds === null ? "–" : seconds(one.seconds),
    "policy tokens": short(one.policy_tokens),
    model: one.model || "–",
    from: one.source,
    feedback: one.feedback ? (one.feedback.score >= 0.5 ? "thumbs up" : "thumbs down") : "none",
  };
  return html`
    <div class="opened">
      <section class="card turns" aria-label="Text">
        <p class="masks">
          <span class="mask policy">policy: trained on</span><span class="mask told-by">observation: masked out of every loss</span>
        </p>
        ${one.turns.map((turn, index) => html`<${Turn} turn=${turn} number=${index + 1} />`)}
        ${!one.turns.length && html`<p class="hint">No text is kept of it.</p>`}
      </section>
      <aside class="side-facts">
        <section class="card" aria-label="Facts"><${Facts} facts=${facts} /></section>
        ${(one.reward !== null || Object.keys(one.rewards).length > 0) && html`
          <section class="card"><h2>Reward</h2><${Facts} facts=${rewardsOf(one)} /></section>
        `}
      </aside>
    </div>
  `;
}

/** Term by term; they sum up to the reward. */
const rewardsOf = ({ reward, rewards }) => ({
  ...Object.fromEntries(Object.entries(rewards).map(([term, value]) => [term, signed(value)])),
  ...(reward === null ? {} : { reward: html`<b>${signed(reward)}</b>` }),
});
const signed = (value) => (value > 0 ? `+${short(value)}` : short(value).replace("-", "−"));

const Facts = ({ facts }) => html`
  <dl class="facts-list">${Object.entries(facts).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
`;

function Turn({ turn: { text, observation, route, invalid_reason: reason }, number }) {
  return html`
    <div class="piece policy">
      <span class="tag">turn ${number} · policy</span>
      ${text ? html`<${Tagged} text=${text} />` : html`<p class="hint">(not kept)</p>`}
    </div>
    ${route && html`<${RouteOf} route=${route} />`}
    ${reason && html`<p class="fault">invalid search: ${reason}</p>`}
    ${observation.trim() && html`
      <div class="piece told-by"><span class="tag">observation · masked</span><${Tagged} text=${observation} /></div>
    `}
  `;
}

/** As it was written, its tags made to stand back. */
const Tagged = ({ text }) => html`
  <pre>${text.trim().split(AT_TAGS).map((piece, index) => (index % 2 ? html`<span class="markup">${piece}</span>` : piece))}</pre>
`;

function RouteOf({ route }) {
  const facts = {
    tokens: route.completion_tokens !== undefined && `${route.prompt_tokens} in, ${route.completion_tokens} out`,
    "raw cost": route.raw_cost !== undefined && short(route.raw_cost),
    spent: route.spend_usd !== undefined && usd(route.spend_usd),
    time: route.latency_s !== undefined && (route.cached ? "from the cache" : seconds(route.latency_s)),
    attempts: route.attempts > 1 && route.attempts,
    failed: route.failed && (route.error || "yes"),
  };
  const told = Object.entries(facts).filter(([, value]) => value);
  return html`
    <div class="route asked-in" style=${hueOf(route.candidate)}>
      <div class="route-head">
        <${Candidate} name=${route.candidate} />
        <span class="facts">${told.map(([name, value], index) => html`${index ? " · " : ""}${name} ${value}`)}</span>
      </div>
    </div>
  `;
}
