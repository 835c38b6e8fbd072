// The other side of spec/interop/yamux_spec.lua, by libp2p's yamux: PORT client|server STREAMS BYTES connects to
// the spec, answers its streams by their first line, and opens streams of its own.
import net from 'node:net'
import { yamux } from '@chainsafe/libp2p-yamux'
import { AbstractMultiaddrConnection } from '@libp2p/utils'

// Node before 22 has none.
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const [port, role, streams, bytes] = process.argv.slice(2)
const log = Object.assign(() => {}, { enabled: false, trace() {}, error() {}, newScope: () => log })

// A socket as what a muxer sits on.
class Connection extends AbstractMultiaddrConnection {
  constructor(socket) {
    super({ log, direction: role === 'client' ? 'outbound' : 'inbound' })
    this.socket = socket
    socket.on('data', data => this.onData(data))
    socket.on('drain', () => this.safeDispatchEvent('drain'))
    socket.on('close', () => this.onTransportClosed())
    socket.on('error', error => this.abort(error))
  }
  sendData(data) {
    const sentBytes = data.byteLength
    return { sentBytes, canSendMore: this.socket.write(data.subarray()) }
  }
  async sendClose() { this.socket.end() }
  sendReset() { this.socket.destroy() }
  sendPause() { this.socket.pause() }
  sendResume() { this.socket.resume() }
}

function fail(error) {
  console.log('failed:', error)
  process.exit(1)
}

const text = data => Buffer.from(data.subarray()).toString()

async function write(stream, data) {
  if (!stream.send(data)) await stream.onDrain()
}

async function send(stream, count) {
  const piece = new Uint8Array(60000)
  for (let left = count; left > 0; left -= piece.length) await write(stream, piece.subarray(0, left))
}

// What comes, until the end.
async function* receive(stream) {
  for await (const data of stream) yield data
}

async function count(pieces) {
  let n = 0
  for await (const data of pieces) n += data.byteLength
  return n
}

// The first line, and what follows it in the same piece.
async function first(pieces) {
  let start = ''
  for (;;) {
    const { value, done } = await pieces.next()
    if (done) throw new Error('no line')
    start += text(value)
    const end = start.indexOf('\n')
    if (end >= 0) return [start.slice(0, end).split(' '), Buffer.from(start.slice(end + 1))]
  }
}

async function answer(stream) {
  const pieces = receive(stream)
  const [[command, argument], rest] = await first(pieces)
  if (command === 'echo') {
    if (rest.length) await write(stream, rest)
    for await (const data of pieces) await write(stream, data)
  } else if (command === 'count') {
    await write(stream, Buffer.from(`${rest.length + await count(pieces)}\n`))
  } else if (command === 'send') {
    await send(stream, Number(argument))
  } else if (command === 'reset') {
    stream.abort(new Error('as asked'))
    return
  } else if (command === 'hold') {
    stream.addEventListener('close', event => console.log('held:', event.error?.name))
    await write(stream, Buffer.from('held\n'))
    return
  }
  await stream.close()
}

async function expect(muxer, n) {
  const stream = await muxer.createStream()
  const pieces = receive(stream)
  const counted = count(pieces)
  await write(stream, Buffer.from(`send ${n}\n`))
  const got = await counted
  if (got !== n) throw new Error(`${got} bytes of ${n}`)
  await stream.close()
}

async function upload(muxer, n) {
  const stream = await muxer.createStream()
  const answered = first(receive(stream))
  await write(stream, Buffer.from('count\n'))
  await send(stream, n)
  await stream.close()
  const [[counted]] = await answered
  if (counted !== String(n)) throw new Error(`counted: ${counted}`)
}

process.on('unhandledRejection', fail)
const socket = net.connect(Number(port), '127.0.0.1')
socket.on('error', fail)
socket.once('connect', async () => {
  const settings = { maxInboundStreams: 4096, maxOutboundStreams: 4096, enableKeepAlive: false }
  const muxer = yamux(settings)().createStreamMuxer(new Connection(socket))
  muxer.addEventListener('stream', ({ detail }) => answer(detail).catch(fail))
  socket.on('close', () => console.log('closed'))
  const all = []
  for (let i = 0; i < Number(streams); i++) all.push(expect(muxer, 1000))
  await Promise.all(all)
  console.log('opened', streams, await muxer.ping() >= 0)
  if (bytes === '0') return
  await expect(muxer, Number(bytes))
  await upload(muxer, Number(bytes))
  console.log('moved', bytes)
})
