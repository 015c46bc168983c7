module github.com/pgark/pgark/tools

go 1.26.0
