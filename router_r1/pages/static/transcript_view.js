// How the blocks of a growing trajectory look.
import { html } from "./ui.js";
import { Clock } from "./clock.js";
import { Candidate, hueOf } from "./candidates.js";
import { seconds, short } from "./format.js";
import { blocks } from "./transcript.js";

export const Blocks = ({ state }) => html`
  <ol class="blocks" aria-live="off">
    ${blocks(state).map((block, index) => html`<li key=${index}><${Block} block=${block} /></li>`)}
    ${!state.endedAt && html`<li class="caret" aria-hidden="true"></li>`}
  </ol>
`;

function Block({ block }) {
  if (block.kind === "search" && block.route) return html`<${RouteCard} block=${block} />`;
  if (block.kind === "search") return html`<p class="search"><span class="tag">search</span>${block.text}</p>`;
  if (block.kind === "information") return html`<p class="told"><span class="tag">observation</span>${block.text}</p>`;
  return html`<p class="thought"><span class="tag">${block.kind === "think" ? "thought" : "text"}</span>${block.text}</p>`;
}

function RouteCard({ block: { route, reply } }) {
  const { facts } = route;
  return html`
    <article class="route" style=${hueOf(route.candidate)} aria-label=${`Route to ${route.candidate}`}>
      <div class="route-head">
        <${Candidate} name=${route.candidate} />
        ${facts ? html`<${RouteFacts} facts=${facts} />` : html`<span class="facts">asked <${Clock} from=${route.startedAt} /></span>`}
      </div>
      <p class="query">${route.query}</p>
      ${facts?.failed ? html`<p class="fault">${facts.error}</p>` : reply && html`<p class="reply">${reply}</p>`}
    </article>
  `;
}

export const RouteFacts = ({ facts }) => html`
  <span class="facts">
    ${facts.completion_tokens} tokens · raw cost ${short(facts.raw_cost)} · ${facts.cached ? "from the cache" : seconds(facts.seconds)}
  </span>
`;
