// Numbers as people read them.

/** With three significant digits, and no exponent where none is needed. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

export const seconds = (value) => (value < 10 ? `${value.toFixed(2)} s` : `${value.toFixed(1)} s`);

/** Money is so little here that it is told in micro-USD until it comes to a cent. */
export const usd = (value) => (value < 0.01 ? `${short(value * 1e6)} µ$` : `$${value.toFixed(value < 1 ? 4 : 2)}`);

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** How long ago, roughly. */
export function ago(epochSeconds) {
  const passed = Math.max(0, Date.now() / 1000 - epochSeconds);
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} days ago`;
}
