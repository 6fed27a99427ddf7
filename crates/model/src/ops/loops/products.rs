use super::Threads;
use super::codes::{Bf16, Codes, F32, Int8, Nf4};
use super::column_products::{Interleaved, add_by_columns, interleaved_stride};
use super::lines::Lines;
use super::output_columns::OutputColumns;
use super::row_products::{MatrixRows, add_by_rows, grouped};

/// A matrix `[inner, columns]` with its numbers one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Matrix<'a> {
    /// Row after row.
    Rows(&'a [f32]),
    /// Column after column.
    Columns(&'a [f32]),
    /// Bfloat16, column after column.
    Bf16Columns(&'a [u16]),
    /// 8-bit integers, column after column, each with the difference between two of its codes.
    Int8Columns { codes: &'a [i8], steps: &'a [f32] },
    /// 4-bit codes, two a byte, column after column, with a scale for each 64; `levels` are the numbers of the codes.
    Nf4Columns { codes: &'a [u8], scales: &'a [f32], levels: &'a [f32; 16] },
}

/// A product of rows with a matrix.
pub(crate) struct Product<'a> {
    pub matrix: Matrix<'a>,
    /// Added to each row of the product, `[columns]`.
    pub bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    pub output: &'a mut [f32],
}

/// Sums that a thread adds up at once: they stay in a second cache of some megabytes.
const SUMS: usize = 1 << 18;

/// Most rows that are multiplied at once: they stay in such a cache too.
const MOST_ROWS: usize = 256;

/// With so many rows for each, threads divide the rows, and none waits for a line of the output in which another writes. With
/// fewer they divide the columns, so that each number of a matrix is read once.
const ENOUGH_ROWS: usize = 16;

/// Columns that threads divide a product into are multiples of this: half a tile.
const HALF_TILE: usize = 32;

/// Products of `[rows, inner]` with matrices. What a processor's caches hold of a matrix is multiplied with up to 256 rows.
/// `arranged` is memory that calls share. A row's product has the same bits whatever rows are beside it.
pub(crate) fn multiply<const N: usize>(
    x: &[f32],
    inner: usize,
    mut products: [Product; N],
    arranged: &mut Lines,
    threads: Threads,
) {
    let rows = x.len() / inner;
    let stride = products.iter().map(|product| Order::of(product.matrix).stride(inner)).max().unwrap_or(inner);
    let arranged = arranged.numbers(rows * stride);
    if rows >= ENOUGH_ROWS * threads.count() {
        let parts = rows.div_ceil(threads.count() * MOST_ROWS) * threads.count();
        let parts = row_parts(rows.div_ceil(parts), x, inner, &mut products, arranged);
        threads.for_each(parts.into_iter(), |part| part.multiply(inner, threads.one()));
    } else {
        let parts = row_parts(MOST_ROWS, x, inner, &mut products, arranged);
        parts.into_iter().for_each(|part| part.multiply(inner, threads));
    }
}

/// Some rows, what they are multiplied with, and memory.
struct RowPart<'a> {
    x: &'a [f32],
    products: Vec<Product<'a>>,
    arranged: &'a mut [f32],
}

/// Parts of so many rows, but for the last.
fn row_parts<'a>(
    count: usize,
    x: &'a [f32],
    inner: usize,
    products: &'a mut [Product],
    arranged: &'a mut [f32],
) -> Vec<RowPart<'a>> {
    let rows = x.len() / inner;
    let memories = arranged.chunks_mut((arranged.len() / rows) * count);
    let parts = x.chunks(inner * count).zip(memories);
    let mut parts: Vec<_> = parts.map(|(x, arranged)| RowPart { x, products: Vec::new(), arranged }).collect();
    for Product { matrix, bias, output } in products {
        let columns = output.len() / rows;
        for (part, output) in parts.iter_mut().zip(output.chunks_mut(columns * count)) {
            part.products.push(Product { matrix: *matrix, bias: *bias, output });
        }
    }
    parts
}

impl RowPart<'_> {
    fn multiply(self, inner: usize, threads: Threads) {
        let Self { x, mut products, arranged } = self;
        let rows = x.len() / inner;
        while let Some(first) = products.first() {
            let order = Order::of(first.matrix);
            let (these, others) = products.into_iter().partition(|product| Order::of(product.matrix) == order);
            let x = match order {
                Order::Grouped => {
                    let x = MatrixRows { numbers: x, stride: inner, count: rows };
                    Arranged::Grouped(grouped(x, inner, arranged))
                }
                Order::Interleaved(in_word) => Arranged::Interleaved(Interleaved::new(x, inner, in_word, arranged)),
            };
            compute(x, [rows, inner], these, threads);
            products = others;
        }
    }
}

/// Order in which a matrix is multiplied with the numbers of rows.
#[derive(PartialEq)]
enum Order {
    Grouped,
    Interleaved(usize),
}

impl Order {
    fn of(matrix: Matrix) -> Self {
        match matrix {
            Matrix::Rows(_) => Self::Grouped,
            Matrix::Columns(_) => Self::Interleaved(F32::IN_WORD),
            Matrix::Bf16Columns(_) => Self::Interleaved(Bf16::IN_WORD),
            Matrix::Int8Columns { .. } => Self::Interleaved(Int8::IN_WORD),
            Matrix::Nf4Columns { .. } => Self::Interleaved(Nf4::IN_WORD),
        }
    }

    /// Numbers of a row of `inner`.
    fn stride(&self, inner: usize) -> usize {
        match self {
            Self::Grouped => inner,
            Self::Interleaved(in_word) => interleaved_stride(inner, *in_word),
        }
    }
}

/// Rows in such an order.
#[derive(Clone, Copy)]
enum Arranged<'a> {
    Grouped(&'a [f32]),
    Interleaved(Interleaved<'a>),
}

/// Some columns of a product.
struct Block<'a> {
    matrix: Matrix<'a>,
    bias: Option<&'a [f32]>,
    /// Columns of the matrix.
    columns: usize,
    /// The first column.
    from: usize,
    output: OutputColumns<'a>,
}

fn compute(x: Arranged, [rows, inner]: [usize; 2], products: Vec<Product>, threads: Threads) {
    threads.for_each(shares(products, rows, threads.count()).into_iter(), |blocks| {
        let mut panel = Lines::default();
        blocks.into_iter().for_each(|block| block.compute(x, inner, &mut panel));
    });
}

/// Divides the columns of products into about as many for each thread.
fn shares(products: Vec<Product>, rows: usize, threads: usize) -> Vec<Vec<Block>> {
    let columns = |product: &Product| product.output.len() / rows;
    let all: usize = products.iter().map(columns).sum();
    let share = all.div_ceil(threads).next_multiple_of(HALF_TILE);
    let most = SUMS / rows / HALF_TILE * HALF_TILE;
    let (mut shares, mut left) = (vec![Vec::new()], share);
    for product in products {
        let columns = columns(&product);
        let Product { matrix, bias, output } = product;
        let mut rest = OutputColumns::of(output, rows);
        while rest.width() > 0 {
            if left == 0 {
                shares.push(Vec::new());
                left = share;
            }
            let from = columns - rest.width();
            let (output, others) = rest.split_at((columns - from).min(most).min(left));
            left -= output.width().next_multiple_of(HALF_TILE);
            rest = others;
            shares.last_mut().expect("there is one").push(Block { matrix, bias, columns, from, output });
        }
    }
    shares
}

impl<'a> Block<'a> {
    fn compute(self, x: Arranged<'a>, inner: usize, panel: &mut Lines) {
        let Self { matrix, bias, columns, from, mut output } = self;
        for row in 0..output.rows() {
            let width = output.width();
            match bias {
                Some(bias) => output.row(row).copy_from_slice(&bias[from..][..width]),
                None => output.row(row).fill(0.0),
            }
        }
        match (x, matrix) {
            (Arranged::Grouped(x), Matrix::Rows(numbers)) => {
                let matrix = MatrixRows { numbers: &numbers[from..], stride: columns, count: inner };
                add_by_rows(x, matrix, panel, &mut output);
            }
            (Arranged::Interleaved(x), Matrix::Columns(numbers)) => add_by_columns(x, F32(numbers), from, &mut output),
            (Arranged::Interleaved(x), Matrix::Bf16Columns(codes)) => add_by_columns(x, Bf16(codes), from, &mut output),
            (Arranged::Interleaved(x), Matrix::Int8Columns { codes, steps }) => {
                add_by_columns(x, Int8 { codes, steps }, from, &mut output);
            }
            (Arranged::Interleaved(x), Matrix::Nf4Columns { codes, scales, levels }) => {
                add_by_columns(x, Nf4 { codes, scales, levels }, from, &mut output);
            }
            _ => unreachable!("rows are in the order of the matrix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::{Tolerance, assert_close};

    use super::*;

    /// Without optimisation there is nothing to guard.
    #[cfg(not(debug_assertions))]
    #[test]
    fn products_are_compiled_to_vectors() {
        use std::hint::black_box;
        use std::time::{Duration, Instant};

        const ROWS: usize = 4;
        const WIDTH: usize = 128;
        let x = vec![0.5; ROWS * WIDTH];
        let matrix = vec![0.25; WIDTH * WIDTH];
        // Of many short trials one is not disturbed, however much else the machine does.
        let shortest = |work: &mut dyn FnMut()| {
            let trial = |_| {
                let began = Instant::now();
                work();
                began.elapsed()
            };
            (0..200).map(trial).min().unwrap_or(Duration::MAX)
        };
        let mut output = vec![0.0; ROWS * WIDTH];
        let one_by_one = shortest(&mut || {
            for (at, output) in output.iter_mut().enumerate() {
                let (row, column) = (&x[at / WIDTH * WIDTH..][..WIDTH], &matrix[at % WIDTH * WIDTH..][..WIDTH]);
                *output = row.iter().zip(column).fold(0.0, |sum, (a, b)| sum + a * b);
            }
            black_box(&output);
        });
        for (name, matrix) in [("rows", Matrix::Rows(&matrix)), ("columns", Matrix::Columns(&matrix))] {
            let mut arranged = Lines::default();
            let in_vectors = shortest(&mut || {
                let product = Product { matrix, bias: None, output: &mut output };
                multiply(&x, WIDTH, [product], &mut arranged, Threads::of_rayon(1));
                black_box(&output);
            });
            assert!(3 * in_vectors < one_by_one, "{name}: {in_vectors:?} in vectors, {one_by_one:?} one by one");
        }
    }

    #[test]
    fn products_are_those_of_64_bits_in_both_layouts() {
        for (rows, inner, columns) in
            [(1, 5, 3), (2, 8, 16), (3, 13, 1), (4, 64, 600), (7, 33, 517), (16, 300, 1030), (41, 9, 95)]
        {
            let numbers = |count: usize, factor: usize| -> Vec<f32> {
                (0..count).map(|i| ((factor * i) % 23) as f32 / 16.0 - 0.6).collect()
            };
            let (x, by_row) = (numbers(rows * inner, 7), numbers(inner * columns, 5));
            let by_column: Vec<f32> = (0..columns * inner).map(|i| by_row[i % inner * columns + i / inner]).collect();
            let sum = |row: usize, column: usize| -> f64 {
                (0..inner).map(|k| f64::from(x[row * inner + k]) * f64::from(by_row[k * columns + column])).sum()
            };
            let expected: Vec<f64> = (0..rows * columns).map(|at| sum(at / columns, at % columns)).collect();
            let bias = numbers(columns, 3);
            let with_bias: Vec<f64> =
                expected.iter().enumerate().map(|(at, sum)| sum + f64::from(bias[at % columns])).collect();
            let rounding = Tolerance { absolute: 1e-5, relative: 1e-6 };
            for threads in [1, 3] {
                let (mut first, mut second) = (vec![f32::NAN; rows * columns], vec![f32::NAN; rows * columns]);
                let products = [
                    Product { matrix: Matrix::Rows(&by_row), bias: None, output: &mut first },
                    Product { matrix: Matrix::Columns(&by_column), bias: Some(&bias), output: &mut second },
                ];
                multiply(&x, inner, products, &mut Lines::default(), Threads::of_rayon(threads));
                assert_close!(first, expected, rounding);
                assert_close!(second, with_bias, rounding);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_rows_are_beside_it() {
        const ROWS: usize = 1000;
        let (inner, columns) = (70, 147);
        let numbers = |count: usize, factor: usize| -> Vec<f32> {
            (0..count).map(|i| ((factor * i) % 1021) as f32 / 700.0 - 0.7).collect()
        };
        let (x, matrix) = (numbers(ROWS * inner, 7), numbers(inner * columns, 5));
        for matrix in [Matrix::Rows(&matrix), Matrix::Columns(&matrix)] {
            let product = |x: &[f32], threads: usize| {
                let (mut first, mut second) =
                    <(Vec<f32>, Vec<f32>)>::from([0; 2].map(|_| vec![f32::NAN; x.len() / inner * columns]));
                let products = [&mut first, &mut second].map(|output| Product { matrix, bias: None, output });
                multiply(x, inner, products, &mut Lines::default(), Threads::of_rayon(threads));
                assert_eq!(first, second);
                first
            };
            let alone: Vec<f32> = x.chunks(inner).flat_map(|row| product(row, 1)).collect();
            for (rows, threads) in [(1, 3), (5, 2), (31, 2), (33, 2), (300, 1), (999, 3), (1000, 2)] {
                assert_eq!(
                    product(&x[..rows * inner], threads),
                    alone[..rows * columns],
                    "{rows} rows, {threads} threads"
                );
            }
        }
    }

    /// Columns that end within a vector of words too.
    #[test]
    fn codes_are_multiplied_as_the_numbers_that_they_stand_for() {
        for (rows, inner, columns) in [(1, 192, 5), (2, 64, 3), (5, 192, 67), (9, 128, 2), (21, 70, 6)] {
            let x: Vec<f32> = (0..rows * inner).map(|i| ((7 * i) % 23) as f32 / 16.0 - 0.6).collect();
            let codes: Vec<u8> = (0..inner * columns).map(|i| ((37 * i) % 251) as u8).collect();
            let steps: Vec<f32> = (0..columns).map(|column| 0.01 + column as f32 / 500.0).collect();
            let levels: [f32; 16] = std::array::from_fn(|code| (code as f32 - 6.5).powi(3) / 100.0);
            let scales: Vec<f32> = (0..inner * columns / 64).map(|block| 0.5 + (block % 5) as f32).collect();
            let check = |matrix: Matrix, number: &dyn Fn(usize) -> f32| {
                let sum = |row: usize, column: usize| -> f64 {
                    let numbers = (0..inner).map(|k| f64::from(number(column * inner + k)));
                    numbers.zip(&x[row * inner..]).map(|(number, x)| number * f64::from(*x)).sum()
                };
                let expected: Vec<f64> = (0..rows * columns).map(|at| sum(at / columns, at % columns)).collect();
                let mut output = vec![f32::NAN; rows * columns];
                let product = Product { matrix, bias: None, output: &mut output };
                multiply(&x, inner, [product], &mut Lines::default(), Threads::of_rayon(2));
                assert_close!(
                    output,
                    expected,
                    Tolerance { absolute: 1e-4, relative: 1e-5 },
                    "{rows} {inner} {columns}"
                );
            };
            let halves: Vec<u16> = (0..inner * columns).map(|i| 0x3f00 + (7 * i % 200) as u16).collect();
            check(Matrix::Bf16Columns(&halves), &|at| f32::from_bits(u32::from(halves[at]) << 16));
            let signed: &[i8] = bytemuck::cast_slice(&codes);
            let int8 = Matrix::Int8Columns { codes: signed, steps: &steps };
            check(int8, &|at| f32::from(signed[at]) * steps[at / inner]);
            if inner.is_multiple_of(64) {
                let nf4 = Matrix::Nf4Columns { codes: &codes[..inner * columns / 2], scales: &scales, levels: &levels };
                let code = |at: usize| if at.is_multiple_of(2) { codes[at / 2] >> 4 } else { codes[at / 2] & 15 };
                check(nf4, &|at| levels[usize::from(code(at))] * scales[at / 64]);
            }
        }
    }
}
