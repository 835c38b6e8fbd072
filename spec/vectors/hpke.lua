-- RFC 9180 appendix A.2: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, in hex. Private keys are
-- x25519 scalars; the ciphertext is that of sequence number 0.
local INFO = "4f6465206f6e2061204772656369616e2055726e"
local AAD = "436f756e742d30"
local PLAIN = "4265617574792069732074727574682c20747275746820626561757479"

return {
  base = { -- A.2.1
    info = INFO,
    aad = AAD,
    plain = PLAIN,
    ephemeral = "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
    receiver = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
    receiver_public = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
    enc = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    ciphertext = "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
  },
  auth = { -- A.2.3
    info = INFO,
    aad = AAD,
    plain = PLAIN,
    ephemeral = "c94619e1af28971c8fa7957192b7e62a71ca2dcdde0a7cc4a8a9e741d600ab13",
    receiver = "3ca22a6d1cda1bb9480949ec5329d3bf0b080ca4c45879c95eddb55c70b80b82",
    receiver_public = "1a478716d63cb2e16786ee93004486dc151e988b34b475043d3e0175bdb01c44",
    sender = "2def0cb58ffcf83d1062dd085c8aceca7f4c0c3fd05912d847b61f3e54121f05",
    sender_public = "f0f4f9e96c54aeed3f323de8534fffd7e0577e4ce269896716bcb95643c8712b",
    enc = "f7674cc8cd7baa5872d1f33dbaffe3314239f6197ddf5ded1746760bfc847e0e",
    ciphertext = "ab1a13c9d4f01a87ec3440dbd756e2677bd2ecf9df0ce7ed73869b98e00c09be111cb9fdf077347aeb88e61bdf",
  },
}
