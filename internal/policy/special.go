package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// A special range holds addresses that are refused under every policy.
type special struct {
	prefix netip.Prefix
	class  string
	source string // where the range is defined
}

// specials are in the order in which they are asked: a narrow range before the wide one around it. Documentation
// ranges (RFC 5737, RFC 3849, RFC 9637) are not here: nobody has them, except laboratories.
//
//nolint:gochecknoglobals // a read-only table, too large to build for each question
var specials = table(
	// Metadata services: who reads them has the machine's cloud credentials.
	"169.254.169.254/32", "metadata", "Amazon EC2, Google Cloud, Azure, OpenStack and others",
	"169.254.170.0/24", "metadata", "Amazon ECS and EKS, task credentials",
	"169.254.42.42/32", "metadata", "Scaleway",
	"169.254.0.23/32", "metadata", "Tencent Cloud",
	"100.100.100.200/32", "metadata", "Alibaba Cloud",
	"168.63.129.16/32", "metadata", "Azure, wire server",
	"192.0.0.192/32", "metadata", "Oracle Cloud",
	"fd00:ec2::/32", "metadata", "Amazon EC2 and EKS over IPv6",
	"fd20:ce::254/128", "metadata", "Google Cloud over IPv6",
	"fd00:42::42/128", "metadata", "Scaleway over IPv6",
	"fd00:c1::a9fe:a9fe/128", "metadata", "Oracle Cloud over IPv6",
	"fe80::a9fe:a9fe/128", "metadata", "OpenStack over IPv6",

	"0.0.0.0/32", "unspecified", "RFC 1122 section 3.2.1.3",
	"0.0.0.0/8", "this network", "RFC 791 section 3.2",
	"10.0.0.0/8", "private", "RFC 1918",
	"100.64.0.0/10", "carrier NAT", "RFC 6598",
	"127.0.0.0/8", "loopback", "RFC 1122 section 3.2.1.3",
	"169.254.0.0/16", "link-local", "RFC 3927",
	"172.16.0.0/12", "private", "RFC 1918",
	"192.0.0.0/24", "protocol assignment", "RFC 6890",
	"192.88.99.0/24", "6to4", "RFC 7526",
	"192.168.0.0/16", "private", "RFC 1918",
	"198.18.0.0/15", "benchmarking", "RFC 2544",
	"224.0.0.0/4", "multicast", "RFC 5771",
	"255.255.255.255/32", "broadcast", "RFC 919",
	"240.0.0.0/4", "reserved", "RFC 1112 section 4",

	"::/128", "unspecified", "RFC 4291 section 2.5.2",
	"::1/128", "loopback", "RFC 4291 section 2.5.3",
	"::ffff:0:0/96", "v4-mapped", "RFC 4291 section 2.5.5.2",
	"::ffff:0:0:0/96", "v4-translated", "RFC 2765",
	"::/96", "v4-compatible", "RFC 4291 section 2.5.5.1",
	"64:ff9b::/96", "NAT64", "RFC 6052",
	"64:ff9b:1::/48", "NAT64", "RFC 8215",
	"100::/64", "discard", "RFC 6666",
	"2001::/32", "Teredo", "RFC 4380",
	"2001:2::/48", "benchmarking", "RFC 5180",
	"2001::/23", "protocol assignment", "RFC 2928",
	"2002::/16", "6to4", "RFC 3056",
	"5f00::/16", "segment routing", "RFC 9602",
	"fc00::/7", "unique-local", "RFC 4193",
	"fe80::/10", "link-local", "RFC 4291 section 2.5.6",
	"fec0::/10", "site-local", "RFC 3879",
	"ff00::/8", "multicast", "RFC 4291 section 2.7",
	"::/3", "reserved", "RFC 4291 section 2.4",
	"4000::/2", "reserved", "RFC 4291 section 2.4",
	"8000::/1", "reserved", "RFC 4291 section 2.4",
)

// table makes ranges of (prefix, class, source), IPv4 first.
func table(cells ...string) (ranges struct{ v4, v6 []special }) {
	for cell := range slices.Chunk(cells, 3) {
		s := special{netip.MustParsePrefix(cell[0]), cell[1], cell[2]}
		if s.prefix.Addr().Is4() {
			ranges.v4 = append(ranges.v4, s)
		} else {
			ranges.v6 = append(ranges.v6, s)
		}
	}
	return ranges
}

// Special reports whether an address is one that no policy lets a sandbox reach, and of which class it is: "loopback",
// "private", "metadata" and so on. An address without a value is of the class "invalid". Zones are not looked at.
// Forms that carry an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) are special as a whole, whatever
// they carry: what would be reached is decided by a translator that policy does not know.
func Special(addr netip.Addr) (class string, ok bool) {
	if !addr.IsValid() {
		return "invalid", true
	}
	addr = addr.WithZone("")
	ranges := specials.v4
	if addr.Is6() {
		ranges = specials.v6
	}
	for i := range ranges {
		if ranges[i].prefix.Contains(addr) {
			return ranges[i].class, true
		}
	}
	if addr.Is6() && isatap(addr.As16()) {
		return "ISATAP", true
	}
	return "", false
}

// isatap recognises the interface identifiers of RFC 5214 section 6.1, below any prefix.
func isatap(a [16]byte) bool {
	return a[8]&^2 == 0 && a[9] == 0 && a[10] == 0x5e && a[11] == 0xfe
}

// specialName knows names that mean a special address by definition, so that nobody need be asked for them.
func specialName(name string) (class string, ok bool) {
	switch {
	case name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "localhost.localdomain":
		return "loopback", true // RFC 6761 section 6.3
	case name == "metadata.google.internal" || name == "metadata.goog" || name == "instance-data.ec2.internal":
		return "metadata", true
	case name != HostName && (name == hostDomain || strings.HasSuffix(name, "."+hostDomain)):
		return "reserved", true
	}
	return "", false
}

// withinSpecial reports whether all of a range is in one special range.
func withinSpecial(p netip.Prefix) bool {
	return slices.ContainsFunc(slices.Concat(specials.v4, specials.v6), func(s special) bool {
		return s.prefix.Bits() <= p.Bits() && s.prefix.Contains(p.Addr())
	})
}
