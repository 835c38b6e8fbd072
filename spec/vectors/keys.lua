-- Seeds and public keys of RFC 8032 section 7.1, tests 1 and 2, in hex. Ids, X25519 keys and negatives follow
-- from the definitions (RFC 8032 section 5.1, RFC 7748 section 4.1).
return {
  {
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    id = "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z",
    x25519 = "307c83864f2833cb427a2ef1c00a013cfdff2768d980c0a3a520f006904de94f",
    x25519_public = "d85e07ec22b0ad881537c2f44d662d1a143cf830c57aca4305d85c7a90f6b62e",
    negative_id = "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS98m",
  },
  {
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    id = "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5",
    x25519 = "68bd9ed75882d52815a97585caf4790a7f6c6b3b7f821c5e259a24b02e502e51",
    x25519_public = "25c704c594b88afc00a76b69d1ed2b984d7e22550f3ed0802d04fbcd07d38d47",
    negative_id = "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HTH",
  },
  leading_zeros = "11Cd8NfepcZrhPVKF6WSSeFc9mDeskZAaZUYJAPA4p", -- a point whose first two bytes are 0
  small_order = {
    "11111111111111111111111111111111",
    "11111111111111111111111111111113D",
    "4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM",
    "3ctC68zTqpRDQShoondiQKDHwZDAUjRyxiPNdg8cD6Pe",
    "3ctC68zTqpRDQShoondiQKDHwZDAUjRyxiPNdg8cD6Rr",
    "EQAqmjhcsBQhpBv5GJkYgEB7emGHZNoo1j1yAjiFLNvD",
    "EQAqmjhcsBQhpBv5GJkYgEB7emGHZNoo1j1yAjiFLNxR",
    "Gx9dDNxzpALCowVuZb7pBceBLJugLA8sPa6TJDXrpfeW",
  },
  not_reduced = { -- y is p + 0, p + 1, p + 3 and 2^255 - 1
    "H242rsh5hzpvDdct56PG5YPQbKUT37EmySQLoQqrYUJr",
    "H5xSWNRAbqKddKjrabehyU8drL3Dk4LgZJiEJc9rGGyC",
    "HDmFoMsLPWK4ShyobcBbmKd6NMAm9xYVj3L1JzmqhtHt",
    "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxD4",
  },
}
