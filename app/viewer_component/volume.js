// Volumes as they come from the server: bytes, x fastest, and the maps between index, mm and scan voxel.

const TYPES = { scan: Uint16Array }

export const shown = new Map() // address -> Volume of the planes that are on the page, for other views of it

export async function loadCase(address, report) {
  report("Loading the images …", 0)
  const meta = await (await fetched(`${address}/meta`)).json()
  const names = ["scan", ...meta.layers.map((layer) => layer.file)]
  const loaded = {}
  let done = 0
  await Promise.all(
    names.map(async (name) => {
      const buffer = await (await fetched(`${address}/${name}`)).arrayBuffer()
      const Type = TYPES[name] ?? Uint8Array
      const data = new Type(buffer)
      if (data.length !== meta.shape[0] * meta.shape[1] * meta.shape[2]) throw new Error("an image is cut short")
      if (sum(data) !== meta.sums[name]) throw new Error("an image was changed on its way")
      loaded[name] = data
      done += 1
      report("Loading the images …", done / names.length)
    }),
  )
  return new Volume(meta, loaded)
}

// A whole number as the pages write it: thousands apart by a thin space.
export function counted(number) {
  return number.toLocaleString("en-US").replaceAll(",", "\u202f")
}

function sum(data) {
  let total = 0 // below 2^53 for every image that the readers allow
  for (let at = 0; at < data.length; at += 1) total += data[at]
  return total
}

async function fetched(address) {
  const answer = await fetch(address, { credentials: "same-origin", cache: "no-store" })
  if (!answer.ok) throw new Error(answer.status === 404 ? "they were deleted or belong to somebody else" : `status ${answer.status}`)
  return answer
}

export class Volume {
  constructor(meta, data) {
    this.meta = meta
    this.shape = meta.shape
    this.spacing = meta.spacing_mm
    this.data = data
    this.layers = meta.layers
    this.inverse = inverted(meta.affine)
  }

  offset(point) {
    const [nx, ny] = this.shape
    return point[0] + nx * (point[1] + ny * point[2])
  }

  value(point) {
    const { slope, intercept } = this.meta.scan
    return this.data.scan[this.offset(point)] * slope + intercept
  }

  toMm(point) {
    return applied(this.meta.affine, point)
  }

  fromMm(mm) {
    return this.clamped(applied(this.inverse, mm).map(Math.round))
  }

  // The voxel in the array of the file, which may have other axes.
  fileVoxel(point) {
    return applied(this.meta.scan_affine_inverse, this.toMm(point)).map((v) => Math.round(v) + 0)
  }

  clamped(point) {
    return point.map((v, axis) => Math.min(Math.max(v, 0), this.shape[axis] - 1))
  }

  layer(id) {
    return this.layers.find((layer) => layer.id === id)
  }

  labelAt(id, point) {
    const layer = this.layer(id)
    if (!layer) return null
    const index = this.data[layer.file][this.offset(point)]
    return index ? (layer.labels.find((label) => label.index === index) ?? null) : null
  }
}

function applied(matrix, [x, y, z]) {
  return [0, 1, 2].map((row) => matrix[row][0] * x + matrix[row][1] * y + matrix[row][2] * z + matrix[row][3])
}

function inverted(m) {
  const [[a, b, c, tx], [d, e, f, ty], [g, h, i, tz]] = m
  const A = e * i - f * h, B = c * h - b * i, C = b * f - c * e
  const determinant = a * A + d * B + g * C
  const r = [
    [A, B, C],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((v) => v / determinant))
  return r.map((row) => [...row, -(row[0] * tx + row[1] * ty + row[2] * tz)])
}
