// Surfaces of labels: naive surface nets (Gibson 1998), relaxed a little for the eye. Volumes are counted in
// voxels elsewhere; a surface measures nothing.

const RELAX = 4 // rounds of moving each vertex towards its neighbours
const CORNERS = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]

// Smallest box around each label with one voxel of margin: index -> [low, high], high included.
export function boxes(data, shape) {
  const found = new Map()
  let at = 0
  for (let z = 0; z < shape[2]; z += 1)
    for (let y = 0; y < shape[1]; y += 1)
      for (let x = 0; x < shape[0]; x += 1, at += 1) {
        const label = data[at]
        if (!label) continue
        const box = found.get(label)
        if (!box) found.set(label, [[x, y, z], [x, y, z]])
        else {
          if (x < box[0][0]) box[0][0] = x
          else if (x > box[1][0]) box[1][0] = x
          if (y < box[0][1]) box[0][1] = y
          else if (y > box[1][1]) box[1][1] = y
          box[1][2] = z
        }
      }
  return found
}

// Points (RAS mm) and triangles of one label, its outside outwards.
export function surfaceOf(volume, data, label, [low, high]) {
  const { shape } = volume
  const size = low.map((v, axis) => high[axis] - v + 2) // cells: one more than voxels, on each side
  const inside = (x, y, z) =>
    x >= 0 && y >= 0 && z >= 0 && x < shape[0] && y < shape[1] && z < shape[2] && data[x + shape[0] * (y + shape[1] * z)] === label
  const cells = new Int32Array(size[0] * size[1] * size[2]).fill(-1)
  const place = (x, y, z) => x + size[0] * (y + size[1] * z)
  const points = []
  for (let z = 0; z < size[2]; z += 1)
    for (let y = 0; y < size[1]; y += 1)
      for (let x = 0; x < size[0]; x += 1) {
        const count = CORNERS.filter(([a, b, c]) => inside(low[0] + x + a - 1, low[1] + y + b - 1, low[2] + z + c - 1)).length
        if (count === 0 || count === 8) continue
        cells[place(x, y, z)] = points.length
        points.push([low[0] + x - 0.5, low[1] + y - 0.5, low[2] + z - 0.5])
      }
  const triangles = [], neighbours = points.map(() => new Set())
  const join = (...quad) => quad.forEach((one, at) => neighbours[one].add(quad[(at + 1) % 4]).add(quad[(at + 3) % 4]))
  for (let z = 1; z < size[2]; z += 1)
    for (let y = 1; y < size[1]; y += 1)
      for (let x = 1; x < size[0]; x += 1) {
        const voxel = [low[0] + x - 1, low[1] + y - 1, low[2] + z - 1]
        const here = inside(...voxel)
        for (let axis = 0; axis < 3; axis += 1) {
          for (const step of [-1, 1]) {
            const next = [...voxel]
            next[axis] += step
            if (!here || inside(...next)) continue
            const quad = face([x, y, z], axis, step).map((cell) => cells[place(...cell)])
            triangles.push(quad[0], quad[1], quad[2], quad[0], quad[2], quad[3])
            join(...quad)
          }
        }
      }
  relax(points, neighbours)
  return {
    points: Float32Array.from(points.flatMap((point) => volume.toMm(point))),
    triangles: Uint32Array.from(triangles),
  }
}

// The four cells around a face of a voxel, turning left about its outward direction, seen from outside. The
// voxel whose upper cells are (x, y, z) has its lower ones at (x, y, z) - 1.
function face(upper, axis, step) {
  const [u, v] = [(axis + 1) % 3, (axis + 2) % 3]
  const corner = (du, dv) => {
    const cell = [...upper]
    cell[axis] -= step > 0 ? 0 : 1
    cell[u] -= 1 - du
    cell[v] -= 1 - dv
    return cell
  }
  const quad = [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)]
  return step > 0 ? quad : quad.reverse()
}

function relax(points, neighbours) {
  for (let round = 0; round < RELAX; round += 1) {
    const before = points.map((point) => [...point])
    points.forEach((point, at) => {
      const near = [...neighbours[at]]
      for (let axis = 0; axis < 3; axis += 1) {
        const mean = near.reduce((sum, one) => sum + before[one][axis], 0) / near.length
        point[axis] = (before[at][axis] + mean) / 2
      }
    })
  }
}
