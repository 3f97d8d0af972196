module antenv

go 1.23
