// Elements, without any text ever read as HTML.

/** An element with properties and children; `share` (0 to 1) is there for the style sheet as --share. */
export function el(tag, { share, data, aria, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  for (const [name, value] of Object.entries(data || {})) element.dataset[name] = value;
  for (const [name, value] of Object.entries(aria || {})) element.setAttribute(`aria-${name}`, value);
  if (share !== undefined) element.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function bar(share) {
  return el("span", { className: "bar", share, ariaHidden: "true" });
}

/** A probability as people read it: "98.2%", and never "100.0%" or "0.0%" for what is only near. */
export function percent(probability, digits = 1) {
  const shown = (100 * probability).toFixed(digits);
  if (probability > 0 && Number(shown) === 0) return `<${(10 ** -digits).toFixed(digits)}%`;
  if (probability < 1 && Number(shown) === 100) return `>${(100 - 10 ** -digits).toFixed(digits)}%`;
  return `${shown}%`;
}
