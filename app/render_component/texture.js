// Volumes for the graphics card: 8 bits, not finer than it needs, labelled voxels only.

const DARKEST = 40 // of the labelled brain, so that it is told from what is not drawn
const LONGEST = 160 // voxels along an axis; a software renderer needs minutes for 256

function step(volume) {
  return Math.ceil(Math.max(...volume.shape) / LONGEST)
}

// Every step-th voxel of what `value` gives for an offset.
function sampled(volume, value) {
  const every = step(volume)
  const shape = volume.shape.map((size) => Math.ceil(size / every))
  const data = new Uint8Array(shape[0] * shape[1] * shape[2])
  let at = 0
  for (let z = 0; z < shape[2]; z += 1)
    for (let y = 0; y < shape[1]; y += 1)
      for (let x = 0; x < shape[0]; x += 1, at += 1) data[at] = value(volume.offset([x * every, y * every, z * every]))
  return { shape, data, every }
}

// Intensities within the usual window where there is a label, else 0: a face is never drawn.
export function brain(volume) {
  const labels = volume.data[volume.layers.find((layer) => layer.kind === "labels").file]
  const { slope, intercept, window } = volume.meta.scan
  const gain = (255 - DARKEST) / (window[1] - window[0])
  return sampled(volume, (offset) =>
    labels[offset] ? Math.min(255, DARKEST + Math.max(0, (volume.data.scan[offset] * slope + intercept - window[0]) * gain)) : 0,
  )
}

export function depthOf(volume, layer) {
  const labels = volume.data[volume.layers.find((one) => one.kind === "labels").file]
  return sampled(volume, (offset) => (labels[offset] ? volume.data[layer.file][offset] : 0))
}

// A NIfTI file in memory with the place in the world that the image has.
export function nifti(NVImage, volume, { shape, data, every }) {
  const affine = volume.meta.affine.map((row, at) => (at < 3 ? [...row.slice(0, 3).map((v) => v * every), row[3]] : row))
  const spacing = volume.spacing.map((v) => v * every)
  return NVImage.createNiftiArray(shape, spacing, affine.flat(), 2, data).buffer
}
