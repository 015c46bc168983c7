package postgres

import "net/netip"

// Endpoint is where a server listens.
type Endpoint struct {
	Host string // a name, an address, or the absolute folder of a Unix-domain socket
	Port uint16
}

// Local reports whether the endpoint is on this host: a socket, or a loopback address.
func (e Endpoint) Local() bool {
	if e.Host == "" || e.Host[0] == '/' || e.Host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(e.Host)
	return err == nil && address.IsLoopback()
}

// Endpoints returns where the servers of c listen, in their order.
func (c *Config) Endpoints() []Endpoint {
	var found []Endpoint
	for _, one := range c.Servers() {
		found = append(found, Endpoint{one.pg.Host, one.pg.Port})
	}
	return found
}

// User is the role that connections are made as.
func (c *Config) User() string { return c.pg.User }
