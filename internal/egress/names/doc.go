// Package names is the sandbox's DNS server and its table of made-up addresses.
//
// Every name that a program asks for gets an address of its own that means nothing outside, so that every connection
// has a name again and policy can be asked about it before anything is resolved. It promises that no label of a refused
// name leaves the machine, that A and AAAA never leave it at all, that an address keeps its name while it is in use and
// for a long time after, and that every question is recorded. What a name really leads to is found by who dials it;
// what is allowed is decided by package policy.
//
// # Answers
//
//	A, AAAA           of any valid name: its made-up address, also if policy refuses it, so that the client can be
//	                  told why by the connection that follows
//	localhost, *.localhost              the sandbox's own loopback (RFC 6761)
//	single labels, *.local, *.test      as any name; who dials decides whether anybody is asked
//	host.moat.internal                  as any name; other names below moat.internal do not exist
//	*.onion, *.invalid, *.arpa          do not exist (RFC 7686, RFC 6761), but for PTR
//	PTR               of made-up addresses and of loopback: their names; others do not exist
//	HTTPS, SVCB       of allowed names, asked upstream: own service only, without hints, ech, and HTTP/3
//	MX, SRV           of allowed names, asked upstream
//	everything else   REFUSED, nobody is asked
//
// Names that are spelled with anything but letters, digits, hyphens and underscores in ASCII are REFUSED, and so are
// numbers that a C library would read as an address: resolvers do not ask for those.
//
// # The table on disk
//
// One JSON object a line: {"n":17,"name":"example.com"}. Name number n has the addresses 198.18.0.0+n and
// fd6d:6f61:7400::+n. A later line with the same number or name replaces the earlier one.
package names
