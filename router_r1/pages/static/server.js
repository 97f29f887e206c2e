// Asks the server. Where it wants a key, the key is asked for once and kept for this tab only.
const KEY = "router-r1 key";

export class Refusal extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const rememberKey = (key) => sessionStorage.setItem(KEY, key.trim());

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function checked(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {};
  throw new Refusal(response.status, error.message ?? `the server answered ${response.status}`, error.code);
}

async function reached(request) {
  try {
    return await request;
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refusal(0, "the server cannot be reached");
  }
}

/** JSON from `/pages/NAME`; a list as a parameter is sent as several. */
export async function get(name, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") query.append(key, one);
  }
  const address = `/pages/${name}${query.size ? `?${query}` : ""}`;
  return (await checked(await reached(fetch(address, { headers: headers(), signal })))).json();
}

/** The response to a JSON body. */
export async function post(address, body, signal = undefined) {
  const request = {
    method: "POST",
    headers: headers({ "Content-Type": "application/json" }),
    body: JSON.stringify(body),
    signal,
  };
  return checked(await reached(fetch(address, request)));
}

/** The JSON of a response's server-sent events, as they come (html.spec.whatwg.org/multipage/server-sent-events.html). */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const pieces = (unread + value).split("\n\n");
    unread = pieces.pop();
    for (const piece of pieces) {
      const data = piece.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}
