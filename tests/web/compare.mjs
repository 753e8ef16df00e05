// Runs a compiled model in onnxruntime-web and holds its relevance against the engine's: in node and in a page, the same lines.

export const TOLERANCE = 1e-5; // of the largest relevance

// For each of a case's inputs, the largest difference as a part of the largest relevance.
export async function differences(ort, model, { runs }) {
  const session = await ort.InferenceSession.create(model);
  const found = [];
  for (const { feeds, wanted } of runs) {
    const given = Object.fromEntries(Object.entries(feeds).map(([name, array]) => [name, tensor(ort, array)]));
    const answer = await session.run(given);
    found.push(Math.max(...Object.entries(wanted).map(([name, array]) => apart(answer[name], array))));
  }
  return found;
}

function tensor(ort, { type, shape, data }) {
  return new ort.Tensor(type, type === "int64" ? BigInt64Array.from(data, BigInt) : Float32Array.from(data), shape);
}

function apart(found, { type, shape, data }) {
  if (String(found.dims) !== String(shape)) throw new Error(`the shape ${found.dims} in place of ${shape}`);
  if (type === "bool") return Boolean(found.data[0]) === data[0] ? 0 : Infinity; // which way a choice went
  return largest(found.data, data);
}

// The largest difference, as a part of the largest number that is wanted.
export function largest(found, wanted) {
  if (found.length !== wanted.length || !found.every(Number.isFinite)) return Infinity;
  return Math.max(...wanted.map((r, i) => Math.abs(found[i] - r))) / Math.max(...wanted.map(Math.abs));
}
