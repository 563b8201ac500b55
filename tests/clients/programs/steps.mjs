// Prints what each step of a program came to, one line each. It knows nothing of HTTP.

export const blame = (error) =>
  [error, error?.cause].filter(Boolean).map((each) => `${each.name}: ${each.code ?? ""} ${each.message}`).join("; ")
    .replace(/\s+/g, " ").slice(0, 600);

export async function step(name, act) {
  try {
    console.log(name, await act());
  } catch (error) {
    console.log(name, "failed:", blame(error));
  }
}

export async function streamed(pieces) {
  const times = [];
  for await (const piece of pieces) if (piece) times.push(performance.now());
  return `${times.length} ${((times.at(-1) - times[0]) / 1000).toFixed(2)}`;
}

export async function often(act) {
  const ends = [];
  for (let count = 0; count < 8; count++) {
    try {
      await act();
      ends.push("ok");
    } catch (error) {
      ends.push(blame(error));
    }
  }
  return `${ends.filter((end) => end === "ok").length} ok, last: ${ends.at(-1)}`;
}
