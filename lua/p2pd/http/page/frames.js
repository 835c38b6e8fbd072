// Messages on a pipe: four bytes of length, the highest first, and the message.

const MESSAGE_MAX = 16 * 1024;
const encoder = new TextEncoder(), decoder = new TextDecoder();

export function encode(text) {
  const body = encoder.encode(text), frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  return frame;
}

/** Takes bytes as they come; `next` gives a text, or undefined, and throws for one that is too long. */
export class Reader {
  rest = new Uint8Array(0);

  push(bytes) {
    const joined = new Uint8Array(this.rest.length + bytes.length);
    joined.set(this.rest);
    joined.set(bytes, this.rest.length);
    this.rest = joined;
  }

  next() {
    if (this.rest.length < 4) return undefined;
    const length = new DataView(this.rest.buffer, this.rest.byteOffset).getUint32(0);
    if (length > MESSAGE_MAX) throw new Error("the peer sent too long a message");
    if (this.rest.length < 4 + length) return undefined;
    const text = decoder.decode(this.rest.subarray(4, 4 + length));
    this.rest = this.rest.slice(4 + length);
    return text;
  }
}
