// Draws charges, plates and lines on a canvas.

const SHADES = 14; // colours along the way from P to Q
const LEVELS = 6; // steps of opacity, by nearness to the rim of the box and by depth

/** The page's colours as they stand, light or dark. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const hex = (name) => style.getPropertyValue(`--${name}`).trim();
  const rgb = (name) => [1, 3, 5].map((k) => parseInt(hex(name).slice(k, k + 2), 16));
  const mix = (a, b, t) => `rgb(${a.map((v, k) => Math.round(v + t * (b[k] - v))).join(" ")})`;
  const [plus, between, minus] = ["plus", "between", "minus"].map(rgb);
  const shades = Array.from({ length: SHADES }, (_, k) => {
    const t = (k + 0.5) / SHADES;
    return t < 0.5 ? mix(plus, between, 2 * t) : mix(between, minus, 2 * t - 1);
  });
  return { plus: hex("plus"), minus: hex("minus"), exact: hex("exact"), ink: hex("ink"), paper: hex("card"), shades };
}

class Painter {
  constructor(context) {
    this.context = context;
    this.colours = palette();
  }

  begin(camera, ratio) {
    this.camera = camera;
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, camera.width, camera.height);
    context.lineJoin = context.lineCap = "round";
  }

  plate(z, colour) {
    const { context, camera } = this, { half, centre } = camera;
    const corners = camera.features === 1
      ? [[-1.12, 0], [1.12, 0]].map(([a]) => camera.project(centre[0] + a * half, 0, z))
      : [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => camera.project(centre[0] + a * half, centre[1] + b * half, z));
    context.beginPath();
    corners.forEach((p, k) => (k ? context.lineTo(p[0], p[1]) : context.moveTo(p[0], p[1])));
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = 1;
    if (camera.features === 2) {
      context.closePath();
      context.globalAlpha = 0.07;
      context.fill();
    }
    context.globalAlpha = 0.4;
    context.stroke();
    context.globalAlpha = 1;
  }

  /** Charges [count, D]; a few of them as discs with their signs. */
  charges(data, count, z, colour, sign) {
    const { context, camera } = this, d = camera.features;
    const few = count <= 40, radius = few ? 7.5 : count <= 300 ? 2.7 : 0;
    context.fillStyle = colour;
    context.globalAlpha = few ? 1 : 0.85;
    context.beginPath();
    for (let k = 0; k < count; k++) {
      const [x, y] = camera.project(data[k * d], d > 1 ? data[k * d + 1] : 0, z);
      if (radius) {
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 7);
      } else context.rect(x - 0.9, y - 0.9, 1.8, 1.8);
    }
    context.fill();
    context.globalAlpha = 1;
    if (!few) return;
    context.strokeStyle = this.colours.paper;
    context.lineWidth = 1.6;
    context.beginPath();
    for (let k = 0; k < count; k++) {
      const [x, y] = camera.project(data[k * d], d > 1 ? data[k * d + 1] : 0, z);
      context.moveTo(x - 3.6, y), context.lineTo(x + 3.6, y);
      if (sign > 0) context.moveTo(x, y - 3.6), context.lineTo(x, y + 3.6);
    }
    context.stroke();
  }

  ring(x, y, colour) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, 12, 0, 7);
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.stroke();
  }

  /** Lines up to their places `upto` (all points where it is null), in the colours of the height or in one `colour`. */
  lines(set, { opacity = 0.75, width = 1.2, colour = null, upto = null } = {}) {
    const { context } = this, buckets = this.buckets(set, upto, colour !== null);
    context.lineWidth = width;
    buckets.forEach((path, key) => {
      context.strokeStyle = colour ?? this.colours.shades[Math.floor(key / LEVELS)];
      context.globalAlpha = (opacity * ((key % LEVELS) + 1)) / LEVELS;
      context.stroke(path);
    });
    context.globalAlpha = 1;
  }

  /** Segments of all lines as paths of one shade and one opacity each. */
  buckets(set, upto, plain) {
    const { camera } = this, { points, offsets, n } = set, reach = 2 * camera.half, flat = n === 2;
    const buckets = new Map();
    let beforeX = 0, beforeY = 0, joined = false, last = -1;
    const go = (x, y, z) => {
      const seen = camera.visible(x, y, z);
      if (seen === 0) return (joined = false), (last = -1);
      const now = camera.project(x, y, z);
      if (joined) {
        const share = flat ? seen : seen * Math.max(0.35, Math.min(1, 0.72 - (0.3 * now[2]) / reach));
        const level = Math.min(LEVELS - 1, Math.floor(share * LEVELS));
        const shade = plain ? 0 : shadeOf(z / camera.L), key = shade * LEVELS + level;
        let path = buckets.get(key);
        if (!path) buckets.set(key, (path = new Path2D()));
        if (key !== last) path.moveTo(beforeX, beforeY);
        path.lineTo(now[0], now[1]);
        last = key;
      }
      joined = true;
      [beforeX, beforeY] = now;
    };
    for (let line = 0; line + 1 < offsets.length; line++) {
      const first = offsets[line], count = upto ? Math.floor(upto[line]) + 1 : offsets[line + 1] - first;
      joined = false;
      last = -1;
      for (let k = first * n; k < (first + count) * n; k += n) go(points[k], flat ? 0 : points[k + 1], points[k + n - 1]);
      if (upto) go(...pointOf(set, line, upto[line]));
    }
    return buckets;
  }

  /** Travellers at the places `upto` of their lines. */
  heads(set, upto) {
    const { context, camera, colours } = this;
    context.lineWidth = 1;
    context.strokeStyle = colours.paper;
    for (let line = 0; line + 1 < set.offsets.length; line++) {
      if (set.offsets[line + 1] - set.offsets[line] < 2) continue;
      const p = pointOf(set, line, upto[line]);
      if (!camera.visible(...p)) continue;
      const [x, y] = camera.project(...p);
      context.fillStyle = colours.shades[shadeOf(p[2] / camera.L)];
      context.beginPath();
      context.arc(x, y, 4, 0, 7);
      context.fill();
      context.stroke();
    }
  }
}

/** Which of the shades belongs to a height, over L. */
function shadeOf(share) {
  return Math.max(0, Math.min(SHADES - 1, Math.floor(share * SHADES)));
}

/** The place [x, y, z] between two points of a line; y is 0 where there is one feature. */
function pointOf({ points, offsets, n }, line, place) {
  const whole = Math.floor(place), rest = place - whole, k = (offsets[line] + whole) * n;
  const between = (c) => (rest === 0 ? points[k + c] : points[k + c] + rest * (points[k + n + c] - points[k + c]));
  return [between(0), n === 3 ? between(1) : 0, between(n - 1)];
}

/**
 * Lines as the painter takes them: points [K, n], and where each line begins. Long chords near the plates become curves.
 * The box {centre, half, L} says what is near.
 */
function lineSet(points, counts, n, box) {
  const smooth = [], offsets = new Uint32Array(counts.length + 1), fine = box.half / 9;
  const near = 2.2 * (box.half + box.L);
  let first = 0;
  counts.forEach((count, line) => {
    for (let k = first; k < first + count; k++) {
      for (let c = 0; c < n; c++) smooth.push(points[k * n + c]);
      if (k + 1 === first + count) break;
      const chord = chordOf(points, k, k + 1, n);
      const close = Math.abs(points[k * n] - box.centre[0]) + Math.abs(points[k * n + n - 1]) < near;
      if (chord > fine && close) curve(smooth, points, [Math.max(first, k - 1), k, k + 1, Math.min(first + count - 1, k + 2)], n, Math.min(12, Math.ceil(chord / fine)));
    }
    first += count;
    offsets[line + 1] = smooth.length / n;
  });
  return { points: Float32Array.from(smooth), offsets, n, clock: null };
}

function chordOf(points, a, b, n) {
  let square = 0;
  for (let c = 0; c < n; c++) square += (points[a * n + c] - points[b * n + c]) ** 2;
  return Math.sqrt(square);
}

/** Points between the second and the third of four on a centripetal Catmull-Rom curve (Yuksel, Schaefer and Keyser, 2011). */
function curve(into, points, [a, b, c, d], n, parts) {
  const knot = (p, q) => Math.max(1e-9, Math.sqrt(chordOf(points, p, q, n)));
  const ab = knot(a, b), bc = knot(b, c), cd = knot(c, d);
  for (let part = 1; part < parts; part++) {
    const t = part / parts, t2 = t * t, t3 = t2 * t;
    for (let k = 0; k < n; k++) {
      const [pa, pb, pc, pd] = [points[a * n + k], points[b * n + k], points[c * n + k], points[d * n + k]];
      const in1 = a === b ? pc - pb : bc * ((pb - pa) / ab - (pc - pa) / (ab + bc) + (pc - pb) / bc);
      const in2 = c === d ? pc - pb : bc * ((pc - pb) / bc - (pd - pb) / (bc + cd) + (pd - pc) / cd);
      into.push((2 * t3 - 3 * t2 + 1) * pb + (t3 - 2 * t2 + t) * in1 + (3 * t2 - 2 * t3) * pc + (t3 - t2) * in2);
    }
  }
}

/** Where travellers are at a share of the way: a far excursion counts with its logarithm, or it would take all the time. */
function placesAt(set, share) {
  set.clock ??= clockOf(set);
  const eased = share * share * (3 - 2 * share);
  return Array.from({ length: set.offsets.length - 1 }, (_, line) => {
    const first = set.offsets[line], last = set.offsets[line + 1] - 1;
    if (last <= first) return 0;
    const goal = eased * set.clock[last];
    let low = first, high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (set.clock[middle] <= goal) low = middle;
      else high = middle;
    }
    const step = set.clock[high] - set.clock[low];
    return low - first + (step > 0 ? Math.min(1, Math.max(0, (goal - set.clock[low]) / step)) : 0);
  });
}

function clockOf({ points, offsets, n }) {
  const clock = new Float32Array(points.length / n);
  for (let line = 0; line + 1 < offsets.length; line++) {
    const steps = [];
    for (let k = offsets[line] + 1; k < offsets[line + 1]; k++) steps.push(chordOf(points, k - 1, k, n));
    const scale = [...steps].sort((a, b) => a - b)[steps.length >> 1] || 1;
    steps.forEach((step, k) => (clock[offsets[line] + k + 1] = clock[offsets[line] + k] + Math.log1p(step / scale)));
  }
  return clock;
}
