module reader

go 1.25
