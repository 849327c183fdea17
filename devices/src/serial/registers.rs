//! Register offsets and bits of the 16550A (PC16550D data sheet, "Register Bit Assignments").

use bitflags::bitflags;

/// Offset of the receiver buffer (read), transmitter holding (write) and, with DLAB, divisor low.
pub const RBR_THR_DLL: u16 = 0;
/// Offset of interrupt enable and, with DLAB, divisor high.
pub const IER_DLM: u16 = 1;
/// Offset of interrupt identification (read) and FIFO control (write).
pub const IIR_FCR: u16 = 2;
/// Offset of line control.
pub const LCR: u16 = 3;
/// Offset of modem control.
pub const MCR: u16 = 4;
/// Offset of line status.
pub const LSR: u16 = 5;
/// Offset of modem status.
pub const MSR: u16 = 6;
/// Offset of the scratch register.
pub const SCR: u16 = 7;

/// The clock that the divisor divides, in hertz; a bit lasts 16 divided clocks.
pub const CLOCK_HZ: u64 = 1_843_200;
/// Bytes in each FIFO.
pub const FIFO_BYTES: usize = 16;

bitflags! {
    /// IER: which conditions interrupt.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptEnable: u8 {
        /// Received data available, and the character time-out.
        const RECEIVED_DATA = 0x01;
        /// Transmitter holding register empty.
        const TRANSMITTER_EMPTY = 0x02;
        /// Receiver line status.
        const LINE_STATUS = 0x04;
        /// Modem status.
        const MODEM_STATUS = 0x08;
    }

    /// FCR: FIFO control (write-only). Bits 6 and 7 are the receiver trigger.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FifoControl: u8 {
        /// Both FIFOs work. The other bits count only where this one is set.
        const ENABLE = 0x01;
        /// Empties the receiver FIFO; clears itself.
        const RESET_RECEIVER = 0x02;
        /// Empties the transmitter FIFO; clears itself.
        const RESET_TRANSMITTER = 0x04;
        /// RXRDY and TXRDY pins in mode 1. A PC leaves the pins open.
        const DMA_MODE = 0x08;
        /// Receiver trigger: 1, 4, 8 or 14 bytes.
        const TRIGGER = 0xC0;
    }

    /// LCR: the frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LineControl: u8 {
        /// Data bits less five.
        const WORD_LENGTH = 0x03;
        /// Two stop bits (one and a half with five data bits).
        const STOP_BITS = 0x04;
        /// A parity bit.
        const PARITY = 0x08;
        /// Even parity.
        const EVEN_PARITY = 0x10;
        /// Stick parity.
        const STICK_PARITY = 0x20;
        /// The output is held at space.
        const BREAK = 0x40;
        /// Divisor latch access (DLAB).
        const DIVISOR_LATCH = 0x80;
    }

    /// MCR: modem outputs and loopback.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ModemControl: u8 {
        /// Data terminal ready.
        const DTR = 0x01;
        /// Request to send.
        const RTS = 0x02;
        /// Output 1: not connected on a PC.
        const OUT1 = 0x04;
        /// Output 2: on IBM's adapter it connects the interrupt to the bus.
        const OUT2 = 0x08;
        /// Loopback: the transmitter feeds the receiver, the outputs feed the modem inputs.
        const LOOPBACK = 0x10;
    }

    /// LSR: line status.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LineStatus: u8 {
        /// A byte waits.
        const DATA_READY = 0x01;
        /// A byte was lost because nobody read.
        const OVERRUN = 0x02;
        /// The byte on top has wrong parity.
        const PARITY_ERROR = 0x04;
        /// The byte on top has no stop bit.
        const FRAMING_ERROR = 0x08;
        /// The byte on top is a break.
        const BREAK = 0x10;
        /// The transmitter holding register or FIFO is empty (THRE).
        const THR_EMPTY = 0x20;
        /// So is the shift register (TEMT).
        const TRANSMITTER_EMPTY = 0x40;
        /// Some byte in the receiver FIFO has an error.
        const FIFO_ERROR = 0x80;
    }

    /// MSR: modem inputs and their changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ModemStatus: u8 {
        /// CTS changed.
        const DELTA_CTS = 0x01;
        /// DSR changed.
        const DELTA_DSR = 0x02;
        /// RI went from on to off.
        const TRAILING_RI = 0x04;
        /// DCD changed.
        const DELTA_DCD = 0x08;
        /// Clear to send.
        const CTS = 0x10;
        /// Data set ready.
        const DSR = 0x20;
        /// Ring indicator.
        const RI = 0x40;
        /// Data carrier detect.
        const DCD = 0x80;
    }
}

impl LineStatus {
    /// The bits that a read of LSR clears, and that the line-status interrupt reports.
    pub const ERRORS: LineStatus = LineStatus::OVERRUN
        .union(LineStatus::PARITY_ERROR)
        .union(LineStatus::FRAMING_ERROR)
        .union(LineStatus::BREAK);
}

impl ModemStatus {
    /// The bits that say what changed.
    pub const CHANGES: ModemStatus = ModemStatus::DELTA_CTS
        .union(ModemStatus::DELTA_DSR)
        .union(ModemStatus::TRAILING_RI)
        .union(ModemStatus::DELTA_DCD);
}

/// What IIR reports, by priority, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptCause {
    /// Overrun, parity, framing, break.
    LineStatus,
    /// The receiver has reached its trigger level.
    ReceivedData,
    /// Bytes below the trigger level have waited for four character times.
    CharacterTimeout,
    /// The transmitter wants bytes.
    TransmitterEmpty,
    /// A modem input changed.
    ModemStatus,
}

impl InterruptCause {
    /// Bits 0 to 3 of IIR.
    pub const fn iir(self) -> u8 {
        match self {
            InterruptCause::LineStatus => 0x06,
            InterruptCause::ReceivedData => 0x04,
            InterruptCause::CharacterTimeout => 0x0C,
            InterruptCause::TransmitterEmpty => 0x02,
            InterruptCause::ModemStatus => 0x00,
        }
    }
}

/// IIR with no interrupt pending.
pub const IIR_NONE: u8 = 0x01;
/// IIR bits 6 and 7: the FIFOs are enabled.
pub const IIR_FIFOS: u8 = 0xC0;
