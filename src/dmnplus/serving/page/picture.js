// Pictures: opened in the browser, and drawn with the regions that a pass looked at.

const DRAWN_WIDTH = 360;
const TALLEST = 720;
const DARKEST = 0.75;
const FEWEST_PIXELS_FOR_NUMBER = 34;

/** A picture of a file: {file, name, url, image}. Rejects with the file's name where the browser cannot open it. */
export async function open(file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    throw new Error(`“${file.name}” is not a picture that this browser can open; try a PNG or JPEG.`);
  }
  return { file, name: file.name || "picture", url, image };
}

export function close(picture) {
  URL.revokeObjectURL(picture.url);
}

const INLINE = /^data:(image\/[\w.+-]+);base64,([\w+/=]*)$/;

export function isInline(address) {
  return INLINE.test(address);
}

/** The file in a `data:` address, which the page's security policy does not let it fetch. */
export function fileOf(address, name) {
  const [, type, coded] = INLINE.exec(address);
  return new File([Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0))], name, { type });
}

/**
 * Draw `image` darkened where the pass did not look, with the share of the regions it looked at most.
 * `regions` are shares of attention by row and column; `highest` is the share that stays fully light.
 */
export function drawRegions(canvas, image, regions, highest) {
  const width = DRAWN_WIDTH;
  const height = Math.max(1, Math.min(TALLEST, Math.round(width * image.naturalHeight / image.naturalWidth)));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  // As the network sees it: what is transparent is white.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = image.naturalWidth > width / 2;
  context.drawImage(image, 0, 0, width, height);
  const cells = cellsOf(regions, width, height);
  for (const { x, y, w, h, share } of cells) {
    context.fillStyle = `rgb(0 0 0 / ${DARKEST * (1 - (highest > 0 ? share / highest : 0))})`;
    context.fillRect(x, y, w, h);
  }
  context.lineWidth = 1;
  context.strokeStyle = "rgb(255 255 255 / 22%)";
  for (const { x, y, w, h } of cells) context.strokeRect(x + 0.5, y + 0.5, w, h);
  const strongest = cells.filter(({ share }) => share >= 0.05 && share >= highest / 3);
  for (const { x, y, w, h, share } of strongest) {
    context.lineWidth = 6;
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.strokeRect(x + 3, y + 3, w - 6, h - 6);
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.strokeRect(x + 3, y + 3, w - 6, h - 6);
    if (Math.min(w, h) >= FEWEST_PIXELS_FOR_NUMBER) number(context, `${Math.round(share * 100)}%`, x + 6, y + 6);
  }
}

/** The region looked at most, in words. */
export function strongestRegion(regions) {
  const best = cellsOf(regions, 1, 1).reduce((a, b) => (b.share > a.share ? b : a));
  return `most at row ${best.row + 1} of ${regions.length}, column ${best.column + 1} of ${regions[0].length} ` +
    `(${Math.round(best.share * 100)}%)`;
}

function cellsOf(regions, width, height) {
  // Edges are rounded, not sizes: cells side by side leave no seam.
  return regions.flatMap((line, row) => line.map((share, column) => {
    const x = Math.round(column * width / line.length);
    const y = Math.round(row * height / regions.length);
    const w = Math.round((column + 1) * width / line.length) - x;
    const h = Math.round((row + 1) * height / regions.length) - y;
    return { row, column, share, x, y, w, h };
  }));
}

function number(context, text, x, y) {
  context.font = "600 18px system-ui, sans-serif";
  context.textBaseline = "top";
  context.fillStyle = "rgb(0 0 0 / 75%)";
  context.fillRect(x, y, context.measureText(text).width + 10, 24);
  context.fillStyle = "#fff";
  context.fillText(text, x + 5, y + 4);
}
