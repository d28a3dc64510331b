// From data units to pixels and back. In the picture z runs to the right, the last feature up, the first one away.

const HOME = { yaw: 0.62, pitch: 0.3, zoom: 1 };
const SIDEWAYS = 1.55; // room beside the plates, in half widths
const BEHIND = 0.5; // room behind each plate, in L

class Camera {
  constructor() {
    this.reset();
    this.width = this.height = 1;
  }

  reset() {
    Object.assign(this, HOME);
  }

  /** Look at a box: plates of half width `half` about `centre` at z = 0 and z = L, with `features` 1 or 2. */
  fit({ centre, half, L, features }, width, height) {
    Object.assign(this, { centre, half, L, features, width, height });
    const flat = features === 1;
    this.psi = flat ? 0 : this.yaw;
    this.theta = flat ? 0 : this.pitch;
    this.focus = 4.5 * Math.hypot(L / 2, half, half);
    this.scale = 1;
    this.middleX = this.middleY = 0;
    const back = L * (0.5 + 0.6 * BEHIND), side = half * 1.22;
    let left = 0, right = 0, low = 0, high = 0;
    for (let k = 0; k < 8; k++) {
      const p = this.turned(k & 1 ? back : -back, flat ? 0 : k & 2 ? side : -side, k & 4 ? side : -side);
      left = Math.min(left, p[0]), right = Math.max(right, p[0]);
      low = Math.min(low, p[1]), high = Math.max(high, p[1]);
    }
    const roomX = width - 24, roomY = height - 104;
    this.scale = this.zoom * Math.min(roomX / (right - left), roomY / (high - low));
    this.middleX = width / 2 - (this.scale * (left + right)) / 2;
    this.middleY = 44 + roomY / 2 + (this.scale * (low + high)) / 2;
  }

  /** Right, up and depth of a place in the box, perspective applied, in data units. */
  turned(a, b, c) {
    const cp = Math.cos(this.psi), sp = Math.sin(this.psi), ct = Math.cos(this.theta), st = Math.sin(this.theta);
    const back = -a * sp + b * cp;
    const depth = back * ct - c * st;
    const share = this.features === 1 ? 1 : this.focus / (this.focus + Math.max(depth, -0.9 * this.focus));
    return [share * (a * cp + b * sp), share * (c * ct + back * st), depth];
  }

  /** Pixel x, y and depth of features (x[, y]) at height z. */
  project(x, y, z) {
    const flat = this.features === 1;
    const p = this.turned(z - this.L / 2, flat ? 0 : x - this.centre[0], flat ? x - this.centre[0] : y - this.centre[1]);
    return [this.middleX + this.scale * p[0], this.middleY - this.scale * p[1], p[2]];
  }

  /** The features [x, y] on the plate at height z that are seen at a pixel, or null where the plate is seen from its edge. */
  onPlate(px, py, z) {
    const u = (px - this.middleX) / this.scale, v = (this.middleY - py) / this.scale;
    if (this.features === 1) return [v + this.centre[0], 0];
    const a = z - this.L / 2, f = this.focus;
    const cp = Math.cos(this.psi), sp = Math.sin(this.psi), ct = Math.cos(this.theta), st = Math.sin(this.theta);
    // u (f + depth) = f right and v (f + depth) = f up are linear in the two features
    const m = [u * cp * ct - f * sp, -u * st, v * cp * ct - f * cp * st, -v * st - f * ct];
    const r = [f * a * cp - u * f + u * a * sp * ct, -v * f + v * a * sp * ct - f * a * sp * st];
    const det = m[0] * m[3] - m[1] * m[2];
    if (Math.abs(det) < 0.05 * f * f) return null;
    return [(r[0] * m[3] - m[1] * r[1]) / det + this.centre[0], (m[0] * r[1] - r[0] * m[2]) / det + this.centre[1]];
  }

  /** How visible a place is: 1 in the box, falling to 0 at its rim, and 0 outside. In the plane the canvas is the box. */
  visible(x, y, z) {
    const side = Math.max(Math.abs(x - this.centre[0]), this.features === 1 ? 0 : Math.abs(y - this.centre[1]));
    if (this.features === 1) return side < 40 * this.half && Math.abs(z) < 40 * this.L ? 1 : 0;
    const room = Math.max(BEHIND * this.L, 0.8 * this.half);
    const behind = (1 - Math.max(-z, z - this.L) / room) / 0.4;
    return Math.max(0, Math.min(1, (SIDEWAYS - side / this.half) / 0.45, behind));
  }
}
