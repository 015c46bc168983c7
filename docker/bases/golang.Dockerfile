# In place of golang: this machine's Go, and the modules of go.sum as a proxy in a folder.
FROM pgark.test/debian
COPY go /usr/local/go
COPY modules /modules
ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPROXY=file:///modules GOTOOLCHAIN=local
