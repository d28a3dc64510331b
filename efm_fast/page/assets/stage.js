// The picture: what is shown, how it is turned, and how charges are taken along.

const CROWD = 60; // from so many charges on, the neighbours of a dragged one come along
const SECONDS = 5; // from plate to plate

class Stage {
  /** `changed()` is called after charges moved, `say(text)` with what a reader of the screen should hear. */
  constructor(canvas, { changed, say }) {
    Object.assign(this, { canvas, changed, say });
    this.camera = new Camera();
    this.painter = new Painter(canvas.getContext("2d"));
    this.scene = null;
    this.sets = []; // [{set, colour}]
    this.share = 1;
    this.chosen = null;
    this.pointers = new Map();
    this.movable = true;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.draw());
  }

  /** Show charges: {features, L, plus, minus, count, centre, half}; the view stays unless `home`. */
  show(scene, home = false) {
    this.scene = scene;
    if (home) this.chosen = null;
    this.draw();
  }

  setLines(sets) {
    this.sets = sets;
    this.draw();
  }

  recolour() {
    this.painter.colours = palette();
    this.draw();
  }

  /** Draw once, at the next frame. */
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.scene) this.paint();
    });
  }

  paint() {
    const { canvas, painter, camera, scene } = this, ratio = Math.min(2, devicePixelRatio || 1);
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    camera.fit(scene, width, height);
    painter.begin(camera, ratio);
    const { colours } = painter, first = Math.sin(camera.psi) >= 0;
    const plates = [
      () => this.plate("plus", 0, colours.plus, 1),
      () => this.plate("minus", scene.L, colours.minus, -1),
    ];
    plates[first ? 1 : 0](); // the farther one
    for (const { set, colour } of this.sets) {
      const still = this.share >= 1;
      const look = colour ? { colour: colours.exact, width: 1.1, opacity: 0.7 } : { width: 1.25, opacity: 0.85 };
      painter.lines(set, still ? look : { ...look, opacity: 0.22 });
      if (still) continue;
      const places = placesAt(set, this.share);
      painter.lines(set, { ...look, width: 1.6, upto: places });
      painter.heads(set, places);
    }
    plates[first ? 0 : 1]();
    if (this.chosen) {
      const [x, y] = this.pixel(this.chosen);
      painter.ring(x, y, colours.ink);
    }
    canvas.dataset.drawn = Number(canvas.dataset.drawn ?? 0) + 1;
  }

  plate(name, z, colour, sign) {
    this.painter.plate(z, colour);
    this.painter.charges(this.scene[name], this.scene.count[name], z, colour, sign);
  }

  /** Pixel of a charge {plate, index}. */
  pixel({ plate, index }) {
    const { scene, camera } = this, d = scene.features, data = scene[plate];
    return camera.project(data[index * d], d > 1 ? data[index * d + 1] : 0, plate === "plus" ? 0 : scene.L);
  }

  nearest(x, y, reach) {
    let best = null, least = reach * reach;
    if (!this.movable || !this.scene) return null;
    for (const plate of ["plus", "minus"]) {
      for (let index = 0; index < this.scene.count[plate]; index++) {
        const [px, py] = this.pixel({ plate, index });
        const far = (px - x) ** 2 + (py - y) ** 2;
        if (far < least) (least = far), (best = { plate, index });
      }
    }
    return best;
  }

  down(event) {
    const { offsetX: x, offsetY: y } = event;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.pointers.size > 1) this.held = null;
    else {
      this.chosen = this.held = this.nearest(x, y, event.pointerType === "mouse" ? 12 : 24);
      if (this.held) {
        const [px, py] = this.pixel(this.held);
        this.grip = [px - x, py - y];
      }
    }
    this.canvas.classList.toggle("turning", !this.held);
    this.draw();
  }

  move(event) {
    const { offsetX: x, offsetY: y } = event, before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.canvas.classList.toggle("over", this.nearest(x, y, 12) !== null);
      return;
    }
    const spread = () => {
      const [a, b] = [...this.pointers.values()];
      return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0;
    };
    const old = spread();
    this.pointers.set(event.pointerId, [x, y]);
    if (old) this.zoom(spread() / old);
    else if (this.held) this.carry(x + this.grip[0], y + this.grip[1]);
    else this.turn(0.008 * (x - before[0]), 0.006 * (y - before[1]));
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.canvas.classList.remove("turning");
    if (this.held) this.tell();
    this.held = null;
  }

  carry(px, py) {
    const place = this.camera.onPlate(px, py, this.held.plate === "plus" ? 0 : this.scene.L);
    if (place) this.put(this.held, place);
  }

  /** Move a charge to features `place`, a crowd's neighbours with it. */
  put({ plate, index }, place) {
    const { scene } = this, d = scene.features, data = scene[plate], count = scene.count[plate];
    const limit = 1.5 * scene.half;
    const goal = place.slice(0, d).map((v, k) => Math.max(scene.centre[k] - limit, Math.min(scene.centre[k] + limit, v)));
    const from = Array.from({ length: d }, (_, k) => data[index * d + k]);
    const step = goal.map((v, k) => v - from[k]), reach = count > CROWD ? 0.22 * scene.half : 0;
    for (let j = 0; reach && j < count; j++) {
      let square = 0;
      for (let k = 0; k < d; k++) square += (data[j * d + k] - from[k]) ** 2;
      const share = Math.exp(-square / (2 * reach * reach));
      if (j !== index && share > 0.01) for (let k = 0; k < d; k++) data[j * d + k] += share * step[k];
    }
    for (let k = 0; k < d; k++) data[index * d + k] = goal[k];
    this.changed();
    this.draw();
  }

  turn(yaw, pitch) {
    if (!this.scene || this.scene.features === 1) return;
    this.camera.yaw = (this.camera.yaw + yaw) % (2 * Math.PI);
    this.camera.pitch = Math.max(-1.5, Math.min(1.5, this.camera.pitch + pitch));
    this.draw();
  }

  zoom(factor) {
    this.camera.zoom = Math.max(0.3, Math.min(8, this.camera.zoom * factor));
    this.draw();
  }

  home() {
    this.camera.reset();
    this.draw();
  }

  choose(step) {
    if (!this.movable) return;
    const plate = this.chosen?.plate ?? "plus", count = this.scene.count[plate];
    const index = this.chosen ? (this.chosen.index + step + count) % count : 0;
    this.chosen = { plate, index };
    this.tell();
    this.draw();
  }

  tell() {
    const { plate, index } = this.chosen, d = this.scene.features;
    const place = Array.from(this.scene[plate].slice(index * d, index * d + d), (v) => v.toFixed(2)).join(", ");
    this.say(`Charge ${index + 1} of ${plate === "plus" ? "P" : "Q"} at ${place}.`);
  }

  key(event) {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const actions = {
      "+": () => this.zoom(1.15), "=": () => this.zoom(1.15), "-": () => this.zoom(1 / 1.15), 0: () => this.home(),
      n: () => this.choose(1), p: () => this.choose(-1), q: () => this.swap(), " ": () => this.play?.(),
      Escape: () => ((this.chosen = null), this.draw()),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !this.scene) return;
    if (arrow && event.shiftKey && this.chosen) this.nudge(arrow);
    else if (arrow && !event.shiftKey) this.turn(-0.08 * arrow[0], -0.06 * arrow[1]);
    else if (actions[event.key.toLowerCase()] ?? actions[event.key]) (actions[event.key.toLowerCase()] ?? actions[event.key])();
    else return;
    event.preventDefault();
  }

  swap() {
    if (!this.movable) return;
    this.chosen = { plate: this.chosen?.plate === "plus" ? "minus" : "plus", index: 0 };
    this.tell();
    this.draw();
  }

  nudge([right, up]) {
    const { plate, index } = this.chosen, d = this.scene.features, data = this.scene[plate], step = 0.05 * this.scene.half;
    if (d === 1) this.put(this.chosen, [data[index] + step * up]);
    else this.put(this.chosen, [data[2 * index] + step * right, data[2 * index + 1] + step * up]);
    this.tell();
  }
}

/** Centre and half width of the plates that hold all but the outermost charges. */
function frameOf(plus, minus, features, L) {
  const centre = [0, 0];
  let half = 0;
  for (let k = 0; k < features; k++) {
    const values = [plus, minus].flatMap((data) => Array.from(data).filter((_, j) => j % features === k)).sort((a, b) => a - b);
    const low = values[Math.floor(0.002 * (values.length - 1))], high = values[Math.ceil(0.998 * (values.length - 1))];
    centre[k] = (low + high) / 2;
    half = Math.max(half, 0.55 * (high - low));
  }
  return { centre, half: Math.max(half, 0.4 * L) };
}
