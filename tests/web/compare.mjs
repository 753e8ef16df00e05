// Runs a compiled model in onnxruntime-web and holds its relevance against the engine's: in node and in a page, the same lines.

export const TOLERANCE = 1e-5; // of the largest relevance

// The largest difference over all digits, as a part of the largest relevance.
export async function difference(ort, model, { shape, input, relevance }) {
  const session = await ort.InferenceSession.create(model);
  const image = new ort.Tensor("float32", Float32Array.from(input), shape);
  const found = await session.run({ [session.inputNames[0]]: image });
  return apart(found[`relevance/${session.inputNames[0]}`].data, relevance);
}

// One digit at a time: the batch size is open.
export async function differenceOfOne(ort, model, { shape, input, relevance }, i) {
  const size = input.length / shape[0];
  const part = [i * size, (i + 1) * size];
  const one = { shape: [1, ...shape.slice(1)], input: input.slice(...part), relevance: relevance.slice(...part) };
  return difference(ort, model, one);
}

function apart(found, wanted) {
  if (found.length !== wanted.length) throw new Error(`${found.length} numbers in place of ${wanted.length}`);
  const scale = Math.max(...wanted.map(Math.abs));
  return Math.max(...wanted.map((r, i) => Math.abs(found[i] - r))) / scale;
}
