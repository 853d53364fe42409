// Prints what Go programs make of NO_PROXY, a line for each value and URL: the table of a test in
// src/vault/rest/proxies.rs. Run: (cd tests/tools && go run ./no_proxy > ../golden/no_proxy.txt)
package main

import (
	"fmt"
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

var values = []string{
	"", "*", "example.com", ".example.com", "*.example.com", "EXAMPLE.com", " example.com , other.test ",
	"example.com:443", "example.com:8443", "example.com:", ":443", "com", "ample.com", "vault.azure.net",
	".vault.azure.net", "prod.vault.azure.net", "azure.net,*", "10.0.0.0/8", "10.1.2.3", "10.1.2.3:443",
	"10.1.2.3:6443", "10.1.2.3/33", "fd00::/8", "fd00::1", "[fd00::1]:443", "[fd00::1]:6443", "[fd00::1]", ",,", "*com", "kubernetes",
	"kubernetes.default.svc",
}

var urls = []string{
	"https://example.com", "https://a.example.com", "https://a.b.example.com:8443", "https://notexample.com",
	"https://prod.vault.azure.net", "https://vault.azure.net", "https://login.microsoftonline.com",
	"https://10.1.2.3", "https://10.1.2.3:6443", "https://11.1.2.3", "https://[fd00::1]", "https://[fd00::1]:6443",
	"https://[fe80::1]", "https://127.0.0.1:6443", "https://127.9.9.9", "https://[::1]:6443",
	"https://localhost:6443", "https://kubernetes.default.svc",
}

func main() {
	for _, value := range values {
		config := httpproxy.Config{HTTPSProxy: "http://proxy.example.com:3128", NoProxy: value}
		proxy := config.ProxyFunc()
		for _, text := range urls {
			to, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			through, err := proxy(to)
			if err != nil {
				panic(err)
			}
			word := "direct"
			if through != nil {
				word = "proxy"
			}
			fmt.Printf("%s\t%s\t%s\n", value, text, word)
		}
	}
}
