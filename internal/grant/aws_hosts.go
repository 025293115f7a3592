package grant

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// awsDomains are where the endpoints of AWS are.
func awsDomains() []string { return []string{"amazonaws.com", "amazonaws.com.cn", "api.aws"} }

// awsRegion is what names of regions look like: eu-central-1, us-gov-west-1, us-iso-east-1.
const awsRegion = `^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`

// awsEndpoint is the part of a host's name that says which service it is, and where.
type awsEndpoint struct {
	region string   // empty: it is one for the whole world
	names  []string // labels beside the region, one of which names the service
}

// parseAWSHost reads the name of an endpoint:
//
//	[…].service[.dualstack].region.amazonaws.com    […].s3-region.amazonaws.com
//	[…].region.service.amazonaws.com                […].service.amazonaws.com
//
// What is before that is a bucket's or an account's, and could look like anything.
func parseAWSHost(host string) (e awsEndpoint, ok bool) {
	for _, domain := range awsDomains() {
		if rest, found := strings.CutSuffix(host, "."+domain); found {
			return newAWSEndpoint(strings.Split(rest, ".")), true
		}
	}
	return awsEndpoint{}, false
}

func newAWSEndpoint(labels []string) awsEndpoint {
	form := regexp.MustCompile(awsRegion)
	last := len(labels) - 1
	if region, old := strings.CutPrefix(labels[last], "s3-"); old && form.MatchString(region) {
		return awsEndpoint{region, []string{"s3"}}
	}
	at := last
	if !form.MatchString(labels[at]) && at > 0 && form.MatchString(labels[at-1]) {
		at-- // region.service
	}
	if !form.MatchString(labels[at]) {
		return awsEndpoint{"", []string{labels[last]}}
	}
	if at < last {
		return awsEndpoint{labels[at], labels[at+1:]}
	}
	before := labels[:at]
	if len(before) > 0 && before[len(before)-1] == "dualstack" {
		before = before[:len(before)-1]
	}
	return awsEndpoint{labels[at], before[max(0, len(before)-1):]}
}

// awsCustomers are words in names of machines that belong to customers of AWS.
func awsCustomers() []string {
	return []string{"compute", "compute-1", "elb", "rds", "cache", "redshift", "vpce", "s3-website", "eks", "mq", "kafka"}
}

// awsAliases are services whose endpoints have another name than their signatures.
func awsAliases() map[string][]string {
	return map[string][]string{
		"ses": {"email"}, "sqs": {"queue"}, "mobiletargeting": {"pinpoint"}, "iotdata": {"iot"}, "iotdevicegateway": {"iot"},
		"aws-marketplace": {"marketplace"}, "awsssoportal": {"sso"}, "elasticfilesystem": {"fs"}, "cloudwatch": {"monitoring"},
	}
}

// checkAWSScope compares what a request is signed for with the host that it goes to.
func checkAWSScope(host, region, service string) error {
	e, ok := parseAWSHost(host)
	if !ok || len(e.names) == 0 {
		return fmt.Errorf("%s is not an endpoint of AWS", host)
	}
	word := strings.TrimSuffix(e.names[0], "-fips")
	if slices.Contains(awsCustomers(), word) {
		return fmt.Errorf("%s belongs to a customer of AWS", host)
	}
	if word != service && !strings.HasPrefix(word, service+"-") && !slices.Contains(awsAliases()[service], word) {
		return fmt.Errorf("it is signed for the service %s, and the host is %s", service, host)
	}
	switch {
	case e.region == region, e.region == "" && (service == "s3" || globalRegion(region)):
		return nil
	case e.region == "":
		return fmt.Errorf("it is signed for the region %s, and the host is the one for all regions", region)
	}
	return fmt.Errorf("it is signed for the region %s, and the host is in %s", region, e.region)
}

// globalRegion reports whether requests to endpoints without a region are signed for it.
func globalRegion(region string) bool {
	return slices.Contains([]string{"us-east-1", "aws-global", "us-gov-west-1", "cn-north-1", "cn-northwest-1"}, region)
}
