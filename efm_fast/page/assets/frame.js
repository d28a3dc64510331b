// Frames: a few facts and float32 arrays in one piece of bytes (frame.py says how).

const HEAD = 4;

/** Facts and arrays {name: {data: Float32Array, shape}} of a frame in an ArrayBuffer. */
function unpackFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { arrays: shapes, ...facts } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, HEAD, length)));
  const arrays = {};
  let at = HEAD + length;
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { data: new Float32Array(buffer, at, count), shape };
    at += 4 * count;
  }
  return { facts, arrays };
}

/** The bytes of a frame. */
function packFrame(facts, arrays) {
  const shapes = Object.fromEntries(Object.entries(arrays).map(([name, a]) => [name, a.shape]));
  let head = JSON.stringify({ ...facts, arrays: shapes });
  head += " ".repeat((4 - (head.length % 4)) % 4);
  const parts = [new Uint32Array([head.length]), head, ...Object.values(arrays).map((a) => a.data)];
  return new Blob(parts);
}

/** The ArrayBuffer that base64 text stands for. */
function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}
