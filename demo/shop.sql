-- A small shop. Nobody in it exists: e-mail addresses are in the domains reserved for examples, phone
-- numbers in the range reserved for fiction (555-0100 to 555-0199), cards are the test numbers that
-- payment providers publish.
CREATE TABLE customers (
    id      int PRIMARY KEY,
    name    text NOT NULL,
    email   text NOT NULL,
    phone   text NOT NULL,
    card    text NOT NULL,
    city    text NOT NULL,
    since   date NOT NULL
);
INSERT INTO customers
SELECT n,
       first || ' ' || last,
       lower(first || '.' || last) || n || '@example.' || (ARRAY['com', 'net', 'org'])[1 + n % 3],
       '+1 ' || (ARRAY['202', '312', '415', '503', '617', '713'])[1 + n % 6] || ' 555 01' || to_char(n % 100, 'FM00'),
       (ARRAY['4111 1111 1111 1111', '4242 4242 4242 4242', '5555 5555 5555 4444', '5105 1051 0510 5100',
              '3782 822463 10005', '3714 496353 98431', '6011 1111 1111 1117', '6011 0009 9013 9424',
              '3530 1113 3330 0000', '3566 0020 2036 0505'])[1 + n % 10],
       (ARRAY['Aarhus', 'Bologna', 'Cork', 'Dresden', 'Evora', 'Fukuoka', 'Ghent', 'Halifax'])[1 + n % 8],
       date '2019-01-01' + n % 2500
FROM generate_series(1, 5000) AS n,
     LATERAL (SELECT
         (ARRAY['Ada', 'Bruno', 'Chloe', 'Dmitri', 'Elif', 'Femi', 'Grace', 'Hugo', 'Ines', 'Jonas', 'Kaya',
                'Leo', 'Mina', 'Noor', 'Olga', 'Pavel', 'Quinn', 'Rosa', 'Sven', 'Tomas'])[1 + n % 20] AS first,
         (ARRAY['Abara', 'Bianchi', 'Costa', 'Dahl', 'Eriksen', 'Fischer', 'Garcia', 'Haddad', 'Ivanova',
                'Jensen', 'Kowalski', 'Laurent', 'Moreau', 'Novak', 'Okafor', 'Peeters', 'Rossi', 'Silva',
                'Tanaka', 'Ueda', 'Vargas', 'Weber', 'Yilmaz'])[1 + n % 23] AS last) AS names;

CREATE TABLE orders (
    id          int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    total       numeric(8, 2) NOT NULL,
    status      text NOT NULL,
    placed      timestamp NOT NULL
);
INSERT INTO orders
SELECT n, 1 + (n * 37) % 5000, 5 + (n * 7919) % 40000 / 100.0,
       (ARRAY['paid', 'shipped', 'delivered', 'returned'])[1 + n % 4],
       timestamp '2025-01-01' + n * interval '41 minutes'
FROM generate_series(1, 12000) AS n;

CREATE TABLE staff (
    login         text PRIMARY KEY,
    role          text NOT NULL,
    password_hash text NOT NULL
);
INSERT INTO staff
SELECT 'clerk-' || n, (ARRAY['support', 'warehouse', 'admin'])[1 + n % 3],
       '$2b$12$' || left(translate(encode(sha256(('salt' || n)::bytea), 'base64'), '+=' || chr(10), '.'), 22)
                 || left(translate(encode(sha512(('hash' || n)::bytea), 'base64'), '+=' || chr(10), '.'), 31)
FROM generate_series(1, 25) AS n;

GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders, staff TO app;
ANALYZE;
