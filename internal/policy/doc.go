// Package policy decides which connections and requests may leave a sandbox.
//
// It is pure: text and values go in, a [Decision] with its rule and its reason comes out. Nothing is resolved, dialled,
// read or logged here. It promises that a name, an address and a path have one spelling each ([Name], [NormalizePath]),
// that what is matched is what the caller then forwards, that whatever cannot be understood is refused, and that a
// compiled [Policy] never changes, so that any number of goroutines may ask it. Where the words of a policy come
// from, how a refusal is told to a client, and dialling exactly the address that was judged, are left to others.
//
// docs/network-policy.md is the reference for people; a test holds it to the tables of this package.
package policy
