-- Of which cart an order was made.  One order of a cart, however often and in whichever way it is
-- checked out: cart's hold on it is a matter of time, this is not.
ALTER TABLE orders_order ADD COLUMN cart_id TEXT;
CREATE UNIQUE INDEX orders_order_cart ON orders_order (cart_id) WHERE cart_id IS NOT NULL;
