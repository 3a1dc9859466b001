declare const text: string;
// biome-ignore lint/style/noDefaultExport: an import with the attribute `type: "text"` gets the text of the script.
export default text;
