// One plane: a slice of the volume drawn on a canvas, with overlay, crosshair, letters and scale bar.

export const PLANES = {
  axial: { across: 0, down: 1, through: 2, letters: { left: "L", right: "R", top: "A", bottom: "P" } },
  coronal: { across: 0, down: 2, through: 1, letters: { left: "L", right: "R", top: "S", bottom: "I" } },
  sagittal: { across: 1, down: 2, through: 0, letters: { left: "A", right: "P", top: "S", bottom: "I" } },
}
const LETTER_PX = 18
const MARGIN_PX = 6
const SCALE_BAR_MM = [10, 20, 50]
// Keeps a canvas in main memory. A browser that emulates its graphics card needed up to a minute for the outlines of
// three slices, which take milliseconds here.
export const ON_CPU = { willReadFrequently: true }

export class Plane {
  constructor(name, canvas, viewer) {
    Object.assign(this, PLANES[name], { name, canvas, viewer })
    this.zoom = 1
    this.pan = [0, 0] // CSS pixels
    this.grey = document.createElement("canvas")
    this.over = document.createElement("canvas")
    this.stale = true
  }

  // Whether the index grows to the left of the screen. x grows to the patient's right.
  get flipped() {
    if (this.across === 1) return true // the nose to the left
    return this.viewer.state.radiological
  }

  get letters_shown() {
    const letters = PLANES[this.name].letters
    if (this.across !== 0 || !this.viewer.state.radiological) return letters
    return { ...letters, left: letters.right, right: letters.left }
  }

  // Slice pixels of this plane: columns, rows.
  get size() {
    const { shape } = this.viewer.volume
    return [shape[this.across], shape[this.down]]
  }

  // CSS pixels for one millimetre, and where the slice's upper left corner lies.
  layout() {
    const { spacing } = this.viewer.volume
    const [columns, rows] = this.size
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight
    const mm = [columns * spacing[this.across], rows * spacing[this.down]]
    const scale = Math.min(width / mm[0], height / mm[1]) * 0.96 * this.zoom
    const shown = [mm[0] * scale, mm[1] * scale]
    return { scale, shown, corner: [(width - shown[0]) / 2 + this.pan[0], (height - shown[1]) / 2 + this.pan[1]], width, height }
  }

  // The voxel under a place of the canvas (CSS pixels); the third index is that of the slice shown.
  voxelAt(x, y) {
    const { shown, corner } = this.layout()
    const [columns, rows] = this.size
    const column = Math.floor(((x - corner[0]) / shown[0]) * columns)
    const row = Math.floor(((y - corner[1]) / shown[1]) * rows)
    if (column < 0 || row < 0 || column >= columns || row >= rows) return null
    const point = [...this.viewer.state.point]
    point[this.across] = this.flipped ? columns - 1 - column : column
    point[this.down] = rows - 1 - row
    return point
  }

  // Middle of a voxel on the canvas, CSS pixels.
  placeOf(point) {
    const { shown, corner } = this.layout()
    const [columns, rows] = this.size
    const column = this.flipped ? columns - 1 - point[this.across] : point[this.across]
    const row = rows - 1 - point[this.down]
    return [corner[0] + ((column + 0.5) / columns) * shown[0], corner[1] + ((row + 0.5) / rows) * shown[1]]
  }

  draw() {
    const { canvas } = this
    const ratio = window.devicePixelRatio || 1
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio)
    if (!width || !height) return
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
    const pen = canvas.getContext("2d", { alpha: false, ...ON_CPU })
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.fillStyle = "#000"
    pen.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight)
    if (this.stale) this.renderSlices()
    this.paint(pen)
    this.annotate(pen)
  }

  paint(pen) {
    const { shown, corner } = this.layout()
    const { state } = this.viewer
    pen.imageSmoothingEnabled = state.smooth
    pen.imageSmoothingQuality = "high"
    pen.drawImage(this.grey, corner[0], corner[1], shown[0], shown[1])
    const layer = this.viewer.activeLayer
    if (!layer || state.opacity === 0) return
    pen.imageSmoothingEnabled = false
    pen.globalAlpha = state.opacity
    if (layer.kind === "labels" && state.outline) this.outline(pen, layer)
    else pen.drawImage(this.over, corner[0], corner[1], shown[0], shown[1])
    pen.globalAlpha = 1
  }

  // The slice in grey and its overlay, one canvas pixel for each voxel.
  renderSlices() {
    const { volume, state } = this.viewer
    const [columns, rows] = this.size
    for (const canvas of [this.grey, this.over]) Object.assign(canvas, { width: columns, height: rows })
    const steps = [1, volume.shape[0], volume.shape[0] * volume.shape[1]]
    const across = steps[this.across] * (this.flipped ? -1 : 1)
    const first = state.point[this.through] * steps[this.through] + (this.flipped ? (columns - 1) * steps[this.across] : 0)
    const grey = new ImageData(columns, rows), over = new ImageData(columns, rows)
    const greys = new Uint32Array(grey.data.buffer), overs = new Uint32Array(over.data.buffer)
    const layer = this.viewer.activeLayer
    const labels = layer ? volume.data[layer.file] : null
    const colours = layer ? this.viewer.colours(layer) : null
    const codes = volume.data.scan, shades = this.viewer.shades()
    for (let row = 0, at = 0; row < rows; row += 1) {
      let from = first + (rows - 1 - row) * steps[this.down]
      for (let column = 0; column < columns; column += 1, at += 1, from += across) {
        const shade = shades[codes[from]]
        greys[at] = 0xff000000 | (shade << 16) | (shade << 8) | shade
        if (labels) overs[at] = colours[labels[from]]
      }
    }
    this.grey.getContext("2d", ON_CPU).putImageData(grey, 0, 0)
    this.over.getContext("2d", ON_CPU).putImageData(over, 0, 0)
    this.overs = overs
    this.stale = false
  }

  // Lines along the edges between labels: exact at any zoom.
  outline(pen) {
    const { shown, corner } = this.layout()
    const [columns, rows] = this.size
    const step = [shown[0] / columns, shown[1] / rows]
    const overs = this.overs
    const paths = new Map()
    const path = (colour) => paths.get(colour) ?? paths.set(colour, new Path2D()).get(colour)
    const line = (colour, x0, y0, x1, y1) => {
      const one = path(colour)
      one.moveTo(corner[0] + x0 * step[0], corner[1] + y0 * step[1])
      one.lineTo(corner[0] + x1 * step[0], corner[1] + y1 * step[1])
    }
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const mine = overs[row * columns + column]
        const right = column + 1 < columns ? overs[row * columns + column + 1] : 0
        const below = row + 1 < rows ? overs[(row + 1) * columns + column] : 0
        if (mine !== right) line(mine || right, column + 1, row, column + 1, row + 1)
        if (mine !== below) line(mine || below, column, row + 1, column + 1, row + 1)
      }
    }
    pen.lineCap = "square"
    for (const [width, dark] of [[3, true], [1.5, false]]) {
      pen.lineWidth = width
      for (const [colour, one] of paths) {
        pen.strokeStyle = dark ? "rgba(0,0,0,0.55)" : `rgb(${colour & 255},${(colour >> 8) & 255},${(colour >> 16) & 255})`
        pen.stroke(one)
      }
    }
  }

  annotate(pen) {
    const { width, height, scale } = this.layout()
    const { state, volume } = this.viewer
    if (state.crosshair) this.crosshair(pen, width, height)
    const letters = this.letters_shown
    pen.font = `600 ${LETTER_PX}px system-ui, sans-serif`
    pen.textAlign = "center"
    pen.textBaseline = "middle"
    const inset = MARGIN_PX + LETTER_PX / 2
    outlined(pen, letters.left, inset, height / 2)
    outlined(pen, letters.right, width - inset, height / 2)
    outlined(pen, letters.top, width / 2, inset)
    outlined(pen, letters.bottom, width / 2, height - inset)
    pen.font = "12px system-ui, sans-serif"
    pen.textAlign = "left"
    outlined(pen, `${this.name} ${state.point[this.through] + 1}/${volume.shape[this.through]}`, MARGIN_PX, MARGIN_PX + 8)
    const bar = SCALE_BAR_MM.findLast((mm) => mm * scale < width / 3) ?? SCALE_BAR_MM[0]
    pen.textAlign = "right"
    const y = height - MARGIN_PX - 4
    pen.fillStyle = "#000"
    pen.fillRect(width - MARGIN_PX - bar * scale - 1, y - 2, bar * scale + 2, 5)
    pen.fillStyle = "#fff"
    pen.fillRect(width - MARGIN_PX - bar * scale, y - 1, bar * scale, 3)
    outlined(pen, `${bar} mm`, width - MARGIN_PX, y - 12)
  }

  crosshair(pen, width, height) {
    const [x, y] = this.placeOf(this.viewer.state.point)
    const gap = 8
    for (const [line, colour] of [[3, "rgba(0,0,0,0.5)"], [1, "#4fe3a3"]]) {
      pen.lineWidth = line
      pen.strokeStyle = colour
      pen.beginPath()
      for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
        pen.moveTo(x0, y0)
        pen.lineTo(x1, y1)
      }
      pen.stroke()
    }
  }
}

export function outlined(pen, text, x, y) {
  pen.lineJoin = "round"
  pen.lineWidth = 4
  pen.strokeStyle = "#000"
  pen.strokeText(text, x, y)
  pen.fillStyle = "#fff"
  pen.fillText(text, x, y)
}
