// The viewer: what is looked at, and three planes that follow.

import { table } from "./colours.js"
import { Plane } from "./plane.js"

export const CODES = 65536

export class Viewer {
  constructor(volume, canvases, changed) {
    this.volume = volume
    this.changed = changed // called after each redraw
    this.tables = new Map()
    const start = volume.meta.points.start ?? this.startMm()
    const labels = volume.layers.find((layer) => layer.kind === "labels")
    this.state = {
      point: volume.fromMm(start),
      layer: labels ? labels.id : "",
      opacity: 0.8,
      outline: true,
      radiological: true,
      crosshair: true,
      smooth: true,
      window: [...volume.meta.scan.window],
    }
    this.planes = Object.entries(canvases).map(([name, canvas]) => new Plane(name, canvas, this))
    this.followers = new Set() // other viewers that show the same place
    this.frame = 0
    this.redraw(true)
  }

  // A hippocampus where there is one, else the middle.
  startMm() {
    for (const layer of this.volume.layers) {
      const found = layer.labels?.find((label) => label.name.startsWith("Hippocampus") && label.point_mm)
      if (found) return found.point_mm
    }
    return this.volume.toMm(this.volume.shape.map((size) => (size - 1) / 2))
  }

  get activeLayer() {
    return this.volume.layer(this.state.layer) ?? null
  }

  colours(layer) {
    if (!this.tables.has(layer.id)) this.tables.set(layer.id, table(layer))
    return this.tables.get(layer.id)
  }

  // Shade of grey for each 16-bit code, made anew when the window changes.
  shades() {
    const [low, high] = this.state.window
    const name = `${low} ${high}`
    if (this.shadesName === name) return this.shadesNow
    const { slope, intercept } = this.volume.meta.scan
    const shades = new Uint8ClampedArray(CODES)
    const gain = 255 / Math.max(high - low, 1e-9)
    for (let code = 0; code < CODES; code += 1) shades[code] = (code * slope + intercept - low) * gain
    this.shadesName = name
    this.shadesNow = shades
    return shades
  }

  set(changes) {
    const before = this.state
    this.state = { ...before, ...changes }
    if (changes.point) this.state.point = this.volume.clamped(changes.point.map(Math.round))
    for (const plane of this.planes) {
      if (Object.keys(changes).some((name) => name !== "point" && name !== "opacity" && name !== "crosshair" && name !== "smooth")) plane.stale = true
      if (this.state.point[plane.through] !== before.point[plane.through]) plane.stale = true
    }
    if (changes.point) for (const other of this.followers) other.follow(this.volume.toMm(this.state.point))
    this.redraw()
  }

  follow(mm) {
    const point = this.volume.fromMm(mm)
    for (const plane of this.planes) if (point[plane.through] !== this.state.point[plane.through]) plane.stale = true
    this.state = { ...this.state, point }
    this.redraw()
  }

  goTo(mm) {
    this.set({ point: this.volume.fromMm(mm) })
    for (const plane of this.planes) this.bringIntoSight(plane)
    this.redraw()
  }

  bringIntoSight(plane) {
    const { width, height } = plane.layout()
    const [x, y] = plane.placeOf(this.state.point)
    if (x < 0 || y < 0 || x > width || y > height) plane.pan = [plane.pan[0] + width / 2 - x, plane.pan[1] + height / 2 - y]
  }

  scroll(plane, steps) {
    const point = [...this.state.point]
    point[plane.through] += steps
    this.set({ point })
  }

  // Zoom about a place of the canvas, which stays where it is.
  zoom(plane, factor, x, y) {
    const before = plane.layout()
    const zoom = Math.min(Math.max(plane.zoom * factor, 0.5), 20)
    const real = zoom / plane.zoom
    plane.zoom = zoom
    plane.pan = [
      plane.pan[0] + (x - before.corner[0] - before.shown[0] / 2) * (1 - real),
      plane.pan[1] + (y - before.corner[1] - before.shown[1] / 2) * (1 - real),
    ]
    this.redraw()
  }

  shift(plane, dx, dy) {
    plane.pan = [plane.pan[0] + dx, plane.pan[1] + dy]
    this.redraw()
  }

  // Wider or narrower, brighter or darker, in shares of the present width.
  changeWindow(wider, brighter) {
    const [low, high] = this.state.window
    const width = (high - low) * (1 + wider), centre = (low + high) / 2 - (high - low) * brighter
    this.set({ window: [centre - width / 2, centre + width / 2] })
  }

  reset() {
    for (const plane of this.planes) Object.assign(plane, { zoom: 1, pan: [0, 0] })
    this.set({ window: [...this.volume.meta.scan.window] })
  }

  redraw(now = false) {
    const draw = () => {
      this.frame = 0
      const began = performance.now()
      for (const plane of this.planes) plane.draw()
      this.lastDrawMs = performance.now() - began
      this.changed(this)
    }
    if (now) draw()
    else if (!this.frame) this.frame = requestAnimationFrame(draw)
  }
}
