--- The default settings: public servers that are meant for public use. A settings file of your own returns
-- a table of the same shape; its keys replace these (see p2pd.config).
-- @module p2pd.settings
return {
  -- Append only: peer addresses name these brokers by their offsets.
  mqtt = {
    { host = "broker.hivemq.com", port = 8883, tls = true },
    { host = "broker.emqx.io", port = 8883, tls = true },
    { host = "test.mosquitto.org", port = 8886, tls = true },
    { host = "mqtt.eclipseprojects.io", port = 8883, tls = true },
  },
  -- One of each operator. behaviour: a hint that the server answers NAT behaviour discovery (RFC 5780).
  stun = {
    { host = "stun.cloudflare.com", port = 3478 },
    { host = "stun.l.google.com", port = 19302 },
    { host = "stun.nextcloud.com", port = 443, behaviour = true },
    { host = "stunserver2025.stunprotocol.org", port = 3478, behaviour = true },
    { host = "stun.telnyx.com", port = 3478, behaviour = true },
    { host = "stun.signalwire.com", port = 3478, behaviour = true },
    { host = "stun.freeswitch.org", port = 3478, behaviour = true },
    { host = "stun.hot-chilli.net", port = 3478, behaviour = true },
    { host = "stun.sonetel.com", port = 3478, behaviour = true },
    { host = "stun.m-online.net", port = 3478, behaviour = true },
  },
  -- None that smears leap seconds: for hours they disagree with those that do not.
  ntp = {
    { host = "time.cloudflare.com", port = 123 },
    { host = "time.apple.com", port = 123 },
    { host = "ntp.se", port = 123 },
    { host = "ntp.time.nl", port = 123 },
  },
  -- Seconds within which a pipe notices that its peer has vanished.
  silence = 60,
  -- None: relaying is paid for by somebody, so credentials are for the user to bring.
  turn = {},
}
