// What leaves the page with a person: copies, files and paper. The notice and the model's name always go along, so that
// an answer does not look like a colleague's.

import { find, make } from "./dom.js";

const notice = () => find("notice").textContent;

/** A copied answer, with what the reader must know of it before and after. */
export const signed = ({ reply, remark }) =>
  [...(remark ? [`[${remark}]`] : []), reply.answer, `[${reply.model}, ${location.host}] ${notice()}`].join("\n\n");

/** A question with its answer as Markdown. */
export function markdownOf(question, { reply, remark }) {
  const flags = reply.flags.map((flag) => `> **${flag.title}.** ${flag.advice} (${flag.source})`);
  return [
    `> ${notice()}`,
    ...flags,
    `# Question\n\n${question}`,
    `# Answer of ${reply.model}`,
    ...(remark ? [`> **${remark}**`] : []),
    reply.answer,
    ...(reply.reasoning ? [`# Its reasoning\n\n${reply.reasoning}`] : []),
    `---\n\n${reply.model}, ${location.host}, ${new Date(reply.created * 1000).toISOString()}. ${notice()}`,
  ].join("\n\n") + "\n";
}

/** The same for programs: the server's own answer, with the question. */
export const jsonOf = (question, { reply, remark }) =>
  JSON.stringify({ question, ...reply, ...(remark ? { remark } : {}), notice: notice() }, null, 2) + "\n";

/** Puts a file into the browser's folder of downloads. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

/** Prints one turn of the conversation. */
export function print(article) {
  const alone = [document.body, article];
  for (const element of alone) element.classList.add("printed");
  addEventListener("afterprint", () => alone.forEach((element) => element.classList.remove("printed")), { once: true });
  window.print();
}

/** Whether the text is in the clipboard now. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // without HTTPS only loopback has a clipboard
    const box = make("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  }
}
