module oss-registry.invalid/bridge

go 1.26
